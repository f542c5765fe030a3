#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A node that boots: an instance in its initramfs, which tells the partner its stage and runs only clients that are
marked early, stops before the switch to the root file system; its successor has another incarnation. A partner that
waits for it waits as long as it boots in time, through the gap between the two, and no longer."""
import os

from lib import BUILD, CALM, ECHO, TOP, check, main, manager, run, test, wait_for
from storage import Storage


def boot(node, stage, wait=True):
    """The events of an instance that ended are not those of this one."""
    return node.start(wait=wait, options=("--boot-stage", stage))


def partner_stage(node):
    partner = node.manager_status()["partner"]
    return partner and partner["boot_stage"]


def wait_stage(node, stage):
    wait_for(lambda: partner_stage(node) == stage, f"{node.name} to read that its partner is at stage {stage}")


@test
def the_partner_sees_each_stage(world):
    alpha, beta = world.pair([manager(clients=[ECHO], timers=CALM)], start=False)
    beta.start()
    boot(alpha, "initramfs")
    alpha.wait_up()
    beta.wait_up()
    wait_stage(beta, "initramfs")
    one = alpha.manager_status()
    check(one["boot_stage"] == "initramfs", f"alpha says of itself: {one['boot_stage']}")
    check(one["clients"] == [], f"a client that is not early runs in the initramfs: {one['clients']}")
    client = beta.manager_status()["clients"][0]
    check(client["state"] == "no-partner", f"the partner's client is {client['state']}")
    beta.wait_links()
    code, text = beta.cli_code("status")
    check(code == 1 and "which boots (stage initramfs)" in text.splitlines()[0], f"{code}: {text}")
    before = one["incarnation"]
    alpha.cli("boot-stage", "root")
    wait_stage(beta, "root")
    check(alpha.stop() == 0, "the instance in the initramfs did not stop in order")
    boot(alpha, "services")
    wait_stage(beta, "services")
    alpha.wait_up()
    check(alpha.manager_status()["incarnation"] != before, "the successor has the incarnation of the first")
    wait_for(lambda: alpha.echo()["answered"] > 0, "echo to run")
    alpha.cli("boot-stage", "serving")
    wait_stage(beta, "serving")


@test
def a_stage_that_is_none_is_refused(world):
    alpha = world.node("alpha", world.config())
    code, text = alpha.cli_code("boot-stage", "sleeping")
    check(code == 2 and "initramfs, root, services, serving" in text, f"{code}: {text}")
    try:
        run(BUILD / "bin/carrickd", "--config", alpha.config_path, "--node", "alpha", "--boot-stage", "sleeping")
    except Exception as error:  # pylint: disable=broad-except
        check(getattr(error, "code", None) == 2 and "sleeping" in str(error), str(error))
    else:
        check(False, "carrickd takes any stage")


@test
def an_early_client_runs_in_the_initramfs(world):
    early = {**ECHO, "early": True}
    alpha, beta = world.pair([manager(clients=[early, {**ECHO, "name": "late"}])], start=False)
    beta.start()
    boot(alpha, "initramfs")
    alpha.wait_up()
    names = [client["name"] for client in alpha.manager_status()["clients"]]
    check(names == ["echo"], f"clients in the initramfs: {names}")
    wait_for(lambda: [c["state"] for c in beta.manager_status()["clients"]] == ["ready", "no-partner"],
             "beta's clients to be ready as far as alpha has them")
    alpha.cli("reload")
    names = [client["name"] for client in alpha.manager_status()["clients"]]
    check(names == ["echo"], f"clients in the initramfs after a reload: {names}")


@test
def the_files_of_an_initramfs_are_listed(world):
    storage = Storage(world)
    alpha = storage.alpha
    text = run(alpha.binary, "--config", alpha.config_path, "--node", "alpha", "--boot-stage", "initramfs", "--list-files")
    names = [line.rsplit("/", 1)[-1] for line in text.splitlines()]
    check(str(alpha.config_path) in text and str(world.key) in text, f"configuration or key is not there: {text}")
    check("tcp.so" in names and "round_robin.so" in names, f"a plugin is not there: {text}")
    check(not {"shelf.so", "failover.so", "mailbox.so"} & set(names), f"what only later clients need is there: {text}")
    everything = run(alpha.binary, "--config", alpha.config_path, "--node", "alpha", "--list-files")
    check("shelf.so" in everything and "mailbox.so" in everything, f"of a whole daemon: {everything}")
    check("carrick-host" not in everything, f"no client is a process of its own, and its program is there: {everything}")


@test
def the_program_of_an_early_process_is_listed(world):
    host = str(BUILD / "bin/carrick-host")
    apart = {**ECHO, "isolation": "process"}
    for client, stage, there in (({**apart, "early": True}, "initramfs", True), (apart, "initramfs", False),
                                 (apart, "serving", True)):
        alpha = world.node("alpha", world.config([manager(clients=[client])]))
        text = run(alpha.binary, "--config", alpha.config_path, "--node", "alpha", "--boot-stage", stage, "--list-files")
        check((host in text.splitlines()) == there, f"{client} at stage {stage}: {text}")


@test
def the_image_gets_the_program_of_an_early_process(world):
    """The hook as initramfs-tools runs it, with functions that only say what would be copied with its libraries."""
    client = {**ECHO, "isolation": "process", "early": True}
    alpha = world.node("alpha", world.config([manager(clients=[client])]))
    tools, image = world.dir / "tools", world.dir / "image"
    tools.mkdir()
    image.mkdir()
    (tools / "hook-functions").write_text("".join(
        f'{name}() {{ echo "{name} $*"; }}\n' for name in ("copy_exec", "copy_file", "copy_libgcc", "manual_add_modules")))
    (world.dir / "initramfs.conf").write_text(f"NODE=alpha\nCONFIG={alpha.config_path}\n")
    hook = (TOP / "packaging/initramfs-tools/hooks/carrick").read_text()
    for name in ("sbindir", "bindir"):
        hook = hook.replace(f"@{name}@", str(BUILD / "bin"))
    text = run("sh", "-c", hook, "hook", env={
        **os.environ, "INITRAMFS_TOOLS": str(tools), "DESTDIR": str(image),
        "CARRICK_INITRAMFS_CONF": str(world.dir / "initramfs.conf")})
    copied = [line.split()[1] for line in text.splitlines() if line.startswith("copy_exec ")]
    for file in (BUILD / "bin/carrickd", BUILD / "bin/carrick-host", BUILD / "plugins/tcp.so"):
        check(str(file) in copied, f"{file} is not copied with its libraries: {text}")


# ---- who waits for a node that boots

WAIT_MS = 1500


def both_lost_power(world, boot_ms):
    """A pair whose nodes both ended; beta is up again."""
    storage = Storage(world, timers="fast").calm(boot_wait_ms=WAIT_MS, boot_ms=boot_ms)
    for node in storage.nodes.values():
        node.start()
    storage.wait_protected()
    storage.alpha.process.kill()
    storage.beta.process.kill()
    storage.alpha.wait_exit()
    storage.beta.wait_exit()
    return storage


def partner(storage):
    return storage.beta.ask("client", client="failover", word="status")["partner"]


def wait_boot_age(storage, ms):
    wait_for(lambda: partner(storage).get("boot_age_ms", 0) > ms, f"beta to have seen alpha boot for {ms} ms", 30)


def waits(storage):
    one = storage.group("beta")
    check(one["state"] == "waiting" and one["takeovers"] == 0,
          f"beta does not wait for a node that boots: {one}; {partner(storage)}")


@test
def a_node_that_boots_in_time_is_waited_for(world):
    storage = both_lost_power(world, 120000)
    boot(storage.alpha, "initramfs")
    boot(storage.beta, "serving")
    wait_for(lambda: partner(storage)["state"] == "booting", "beta to see that alpha boots")
    # Longer than a node that is not seen would be waited for.
    wait_boot_age(storage, 2 * WAIT_MS)
    waits(storage)
    storage.alpha.cli("boot-stage", "root")
    wait_for(lambda: partner(storage)["boot_stage"] == "root", "beta to see the next stage")
    check(storage.alpha.stop() == 0, "the instance in the initramfs did not stop in order")
    # The gap: nothing of alpha can be read, for longer than a start waits.
    age = partner(storage)["boot_age_ms"]
    wait_boot_age(storage, age + 2 * WAIT_MS)
    waits(storage)
    check(partner(storage)["boots_in_time"], f"not in time: {partner(storage)}")
    boot(storage.alpha, "services")
    storage.wait_protected(30)
    storage.alpha.cli("boot-stage", "serving")
    check(storage.group("beta")["owner"] == "alpha", f"alpha does not serve: {storage.group('beta')}")
    check(storage.group("beta")["takeovers"] == 0, "beta took over")
    # From now on the usual rules hold.
    storage.alpha.kill()
    storage.wait_state("beta", "alone")


@test
def a_node_that_stays_in_its_initramfs_is_not_waited_for(world):
    storage = both_lost_power(world, 4000)
    boot(storage.alpha, "initramfs")
    boot(storage.beta, "serving")
    wait_boot_age(storage, 2 * WAIT_MS)
    storage.wait_state("beta", "alone", timeout_s=20)
    check(partner(storage)["boot_age_ms"] >= 4000, f"it was not given its time: {partner(storage)}")
    # It comes after all, and follows.
    storage.alpha.stop()
    boot(storage.alpha, "services")
    storage.wait_protected(30)
    check(storage.group("beta")["owner"] == "beta", "the group went back by itself")


@test
def a_node_that_does_not_come_through_the_switch_is_not_waited_for(world):
    storage = both_lost_power(world, 4000)
    boot(storage.alpha, "initramfs")
    boot(storage.beta, "serving")
    wait_for(lambda: partner(storage)["state"] == "booting", "beta to see that alpha boots")
    storage.alpha.stop()
    # One that begins anew gets no new budget.
    boot(storage.alpha, "initramfs")
    wait_boot_age(storage, WAIT_MS)
    storage.alpha.kill()
    storage.wait_state("beta", "alone", timeout_s=20)
    # Its last word may be so young that it still counts as on its way.
    wait_for(lambda: partner(storage)["state"] == "unreachable", "beta to call alpha unreachable")


@test
def an_operator_need_not_wait(world):
    storage = both_lost_power(world, 120000)
    boot(storage.alpha, "initramfs")
    boot(storage.beta, "serving")
    wait_boot_age(storage, 2 * WAIT_MS)
    waits(storage)
    storage.beta.cli("takeover", "g1")
    storage.wait_state("beta", "alone")


if __name__ == "__main__":
    main()
