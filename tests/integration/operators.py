#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an operator sees and does: hooks, the timer budget, --dry-run, takeovers by force and what comes of them,
hand-over without a link, a pair without an arbiter. Words and exit statuses in each."""
import json
import pathlib
import select
import signal

from lib import CommandError, check, main, run, test, wait_for
from nbd_load import BLOCK, FLUSH, READ, WRITE, Nbd, block_of
from storage import MIB, Storage

SEED = 7
STEPS = ("lost", "takeover", "serving", "stopped", "alone", "protected")


PATIENT_S = 60  # of a user: a bound for hangs, which says nothing of how fast anything is


def pair(world, timers=None, session_lost_ms=None, **options):
    storage = Storage(world, timers="fast", **options).calm(**(timers or {}))
    if session_lost_ms:
        for node in storage.nodes.values():
            node.config["managers"][0]["timers"]["session_lost_ms"] = session_lost_ms
            node.write_config()
    return storage.start().wait_protected()


def write(storage, node, block, number):
    connection = Nbd(storage.export(node, "disk1"), PATIENT_S)
    connection.ask(WRITE, block * BLOCK, data=block_of(SEED, block, number))
    connection.close()


def begin_write(storage, node, block, number):
    connection = Nbd(storage.export(node, "disk1"), PATIENT_S)
    connection.submit(WRITE, block * BLOCK, data=block_of(SEED, block, number))
    return connection


def is_answered(connection):
    return bool(select.select([connection.socket], [], [], 0)[0])


def check_block(storage, node, block, number):
    connection = Nbd(storage.export(node, "disk1"), PATIENT_S)
    check(connection.ask(READ, block * BLOCK, BLOCK) == block_of(SEED, block, number), f"block {block} at {node} is not {number}")
    connection.close()


def says(node, code, words, *command):
    """The exit status and words of a command; returns its output."""
    got, text = node.cli_code(*command)
    check(got == code, f"carrick {' '.join(command)} at {node.name} ended with {got}, not {code}: {text}")
    for word in words:
        check(word in text, f"carrick {' '.join(command)} at {node.name} does not say '{word}': {text}")
    return text


def wait_says(node, code, *words, timeout_s=10):
    """The first line of `carrick status` and its exit status."""
    def probe():
        got, text = node.cli_code("status")
        return got == code and all(word in text.splitlines()[0] for word in words)

    wait_for(probe, f"status of {node.name} to end with {code} and to begin with a line with {words}; it is: "
             f"{node.cli_code('status')[1].splitlines()[0]}", timeout_s)


def links(node, word):
    for name in ("left", "right"):
        node.cli("link", word, name)


# ---- hooks


def hook(world, name, body):
    path = world.dir / name
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(0o755)
    return [str(path), "a word"]


def hook_lines(world, node):
    path = world.dir / f"hooks.{node}"
    return [line.split(",") for line in path.read_text().splitlines()] if path.exists() else []


def hook_steps(world, node):
    return [line[0] for line in hook_lines(world, node)]


RECORD = """echo "$CARRICK_STEP,$CARRICK_GROUP,$CARRICK_NODE,$CARRICK_PARTNER,$CARRICK_MANAGER,$CARRICK_GENERATION_NUMBER,$1" \
>> {dir}/hooks.$CARRICK_NODE
"""


@test
def hooks_run_in_order(world):
    record = hook(world, "record", RECORD.format(dir=world.dir))
    storage = pair(world, hooks={step: record for step in STEPS})

    def wait_steps(node, *steps):
        wait_for(lambda: hook_steps(world, node) == list(steps), f"the hooks of {node} to be {steps}, they are {hook_steps(world, node)}")

    wait_steps("alpha", "serving", "protected")
    wait_steps("beta", "protected")
    storage.alpha.kill()
    wait_steps("beta", "protected", "lost", "takeover", "serving", "alone")
    for line in hook_lines(world, "beta"):
        check(line[1:5] == ["g1", "beta", "alpha", "main"] and line[6] == "a word", f"variables of a hook: {line}")
    first, last = (int(line[5]) for line in (hook_lines(world, "beta")[0], hook_lines(world, "beta")[-1]))
    check(last > first > 0, f"the number of the generation went from {first} to {last}")
    (world.dir / "hooks.beta").unlink()
    (world.dir / "hooks.alpha").unlink()
    storage.alpha.start()
    storage.wait_protected(30)
    wait_steps("alpha", "protected")
    wait_for(lambda: hook_steps(world, "beta")[-1:] == ["protected"], "beta to say that it is protected")
    # It may begin anew to bring the partner up to date, but serves all the while.
    check(set(hook_steps(world, "beta")) <= {"alone", "protected"}, f"the hooks of beta: {hook_steps(world, 'beta')}")
    (world.dir / "hooks.beta").unlink()
    (world.dir / "hooks.alpha").unlink()
    storage.beta.cli("giveback", "g1")
    storage.wait_protected(30)
    wait_for(lambda: hook_steps(world, "beta")[:1] == ["stopped"], "beta to say that it serves no more")
    wait_for(lambda: hook_steps(world, "alpha")[:1] == ["serving"], "alpha to say that it serves")


@test
def hook_that_hangs_holds_up_nothing(world):
    hang = hook(world, "hang", f"sleep 1000 &\necho $! > {world.dir}/child.new\nmv {world.dir}/child.new {world.dir}/child\nwait\n")
    fail = hook(world, "fail", "exit 3\n")
    record = hook(world, "record", RECORD.format(dir=world.dir))
    # Long enough for a takeover and a write on the slowest of machines.
    storage = pair(world, {"hook_ms": 12000}, hooks={
        "lost": hang, "takeover": fail, "serving": ["/nowhere/at-all"], "alone": record})
    storage.alpha.kill()
    child = pathlib.Path("/proc") / wait_for(lambda: (world.dir / "child").read_text().strip(), "the hook to run")
    storage.wait_state("beta", "alone")
    write(storage, "beta", 0, 1)
    check(child.exists(), "the hook ended before its deadline")
    check(not hook_lines(world, "beta"), "a hook ran beside another one")
    wait_for(lambda: hook_steps(world, "beta") == ["alone"], "the hooks behind the one that hangs", 40)
    storage.beta.wait_log("took longer than 12000 ms and was ended", "failed (exit status 3)", "/nowhere/at-all cannot be started")
    wait_for(lambda: not child.exists() or "State:\tZ" in (child / "status").read_text(), "what the hook started to be ended")


# ---- the budget, and what would be done


@test
def timers_are_told(world):
    storage = pair(world, {"gone_ms": 405})
    told = json.loads(storage.alpha.cli("failover", "timers", "--json"))
    timers, sums = ({row["name"]: row["ms"] for row in told[part]} for part in ("timers", "sums"))
    check(timers["gone_ms"] == 405, f"what was configured is not told: {timers}")
    check(sums["owner_killed"] == timers["beat_ms"] + timers["gone_ms"] + timers["takeover_delay_ms"], f"{timers} {sums}")
    check(sums["owner_hung"] == timers["beat_ms"] + timers["still_ms"] + timers["takeover_delay_ms"], f"{timers} {sums}")
    says(storage.alpha, 0, ("gone_ms", "405 ms", "owner_killed", "arbiter_ms"), "failover", "timers")
    says(storage.alpha, 2, ("timers",), "failover", "nonsense")
    bad = world.config([*storage.alpha.config["managers"]])
    next(one for one in bad["managers"][0]["clients"] if one["name"] == "failover")["config"]["timers"] = {"still_ms": 100}
    path = world.dir / "bad.json"
    path.write_text(json.dumps(bad))
    try:
        run(storage.alpha.tool, "config", "check", path)
        check(False, "a budget that contradicts itself is well")
    except CommandError as error:
        check(error.code == 1 and "still_ms is 100" in error.output and "suspect_ms is 150" in error.output, f"{error}")


@test
def dry_run_lists_everything_and_does_nothing(world):
    # Nobody has lost anything that this test has not taken away, nor is suspected: else other reasons are told.
    storage = pair(world, {"takeover_delay_ms": 30000, "boot_wait_ms": 60000, "suspect_ms": 5000, "gone_ms": 2000, "still_ms": 10000,
                           "stall_ms": 10000}, session_lost_ms=20000)
    # Both may be protected before beta has looked at the record that alpha made.
    wait_for(lambda: storage.group("beta")["record"] == storage.group("alpha")["record"], "beta to know the record")
    before = (storage.beta.session()["id"], storage.group("beta"))
    told = json.loads(storage.beta.cli("takeover", "g1", "--dry-run", "--json"))
    check(not told["possible"] and any("alpha serves the group and is well" in text for text in told["against"]), f"{told}")
    would = " ".join(told["would"])
    order = [would.find(word) for word in ("withdraw the promise", "end the session", "ask the arbiter mailbox", "new generation", "replay")]
    check(-1 not in order and order == sorted(order), f"what would be done, or its order: {told['would']}")
    check(any("acknowledged after record" in text for text in told["force_would_lose"]), f"{told}")
    says(storage.beta, 0, ("reasons against it", "carrick handover g1", "would be lost"), "takeover", "g1", "--dry-run", "--force")
    says(storage.alpha, 0, ("this node serves the group already",), "takeover", "g1", "--dry-run")
    says(storage.beta, 1, ("there are reasons against it", "Force would lose"), "takeover", "g1")
    says(storage.alpha, 1, ("there is nothing to take over",), "takeover", "g1", "--force")
    says(storage.alpha, 1, ("there is no group 'g9'; there are: g1",), "takeover", "g9")
    says(storage.alpha, 2, (), "takeover")
    after = (storage.beta.session()["id"], storage.group("beta"))
    for key in ("record", "takeovers", "state", "role", "copy"):
        check(before[1][key] == after[1][key], f"{key} was changed: {before[1][key]} to {after[1][key]}")
    check(before[0] == after[0], "the session was ended")
    # The owner is gone: nothing speaks against it, and nobody waits for takeover_delay_ms.
    write(storage, "alpha", 0, 1)
    storage.alpha.kill()
    wait_for(lambda: json.loads(storage.beta.cli("takeover", "g1", "--dry-run", "--json"))["possible"], "a takeover to be possible")
    says(storage.beta, 0, (": possible", "it would:"), "takeover", "g1", "--dry-run")
    check(storage.state("beta") != "alone", "--dry-run took the group over")
    says(storage.beta, 0, ("group g1 is served here",), "takeover", "g1")
    wait_says(storage.beta, 1, "DOWN", "no session with alpha")
    check(storage.state("beta") == "alone", "beta does not serve alone")
    check_block(storage, "beta", 0, 1)
    storage.beta.kill()
    says(storage.beta, 3, (), "takeover", "g1", "--dry-run")


@test
def the_mailbox_goes_while_all_is_well(world):
    storage = pair(world)
    away = world.dir / "mailbox.away"
    (world.dir / "mailbox").rename(away)
    for node in (storage.alpha, storage.beta):
        wait_says(node, 1, "DEGRADED", "group g1 is protected, but could not change hands now: the arbiter mailbox could not be had", timeout_s=30)
    check(storage.state("alpha") == "protected" and storage.state("beta") == "protected", "the pair is not protected any more")
    write(storage, "alpha", 0, 1)
    says(storage.beta, 0, ("not possible, and not by force either", "alpha serves the group and is well", "the arbiter mailbox could not be had",
                           "gone for good"), "takeover", "g1", "--dry-run")
    storage.alpha.kill()
    wait_says(storage.beta, 1, "DOWN", "no session with alpha")
    for _ in range(5):
        says(storage.beta, 0, ("not possible, and not by force either", "the arbiter mailbox could not be had"), "takeover", "g1", "--dry-run", "--force")
    storage.beta.cli_code("takeover", "g1", "--force")
    check(storage.state("beta") != "alone", "beta serves without the arbiter's word")
    away.rename(world.dir / "mailbox")
    storage.wait_state("beta", "alone")
    check_block(storage, "beta", 0, 1)
    storage.alpha.start()
    storage.wait_protected(timeout_s=30)
    wait_says(storage.beta, 0, "OK", timeout_s=30)


# ---- without an arbiter


@test
def mirror_loss_hold(world):
    storage = pair(world, arbiter=False, on_mirror_loss="hold")
    wait_says(storage.alpha, 0, "OK")
    write(storage, "alpha", 0, 1)
    storage.beta.kill()
    writer = begin_write(storage, "alpha", 0, 2)
    storage.wait_state("alpha", "stalled")
    wait_for(lambda: 'on_mirror_loss is "hold"' in storage.group("alpha")["reason"], "the reason to be told")
    wait_says(storage.alpha, 1, "DOWN", "no session with beta")
    says(storage.alpha, 0, ("arbiter none", "on_mirror_loss hold", "stalled", "unreachable"), "failover")
    check(not is_answered(writer), "a write was answered that one copy holds")
    storage.beta.start()
    check(writer.receive()[1] == 0, "the write failed that had waited")
    storage.wait_protected(30)
    wait_says(storage.alpha, 0, "OK")
    check_block(storage, "alpha", 0, 2)
    storage.check_copies()


@test
def mirror_loss_continue(world):
    storage = pair(world, arbiter=False, on_mirror_loss="continue")
    storage.beta.kill()
    write(storage, "alpha", 0, 1)
    storage.wait_state("alpha", "alone")
    says(storage.alpha, 0, ("on_mirror_loss continue", "alone"), "failover")
    storage.beta.start()
    storage.wait_protected(30)
    wait_says(storage.alpha, 0, "OK")
    check_block(storage, "alpha", 0, 1)
    storage.check_copies()


@test
def forced_without_arbiter(world):
    """The owner acknowledged nothing that the other lacks: it comes back and follows."""
    storage = pair(world, arbiter=False, on_mirror_loss="hold")
    write(storage, "alpha", 0, 1)
    storage.alpha.kill()
    wait_for(lambda: "carrick takeover g1 --force" in storage.group("beta")["reason"], "the reason to tell what can be done")
    check(storage.state("beta") == "waiting", f"it is {storage.state('beta')}")
    says(storage.beta, 1, ("no arbiter is configured", "Force would lose"), "takeover", "g1")
    check(storage.state("beta") == "waiting", "a refused takeover did something")
    says(storage.beta, 0, ("group g1 is served here",), "takeover", "g1", "--force")
    storage.beta.wait_log("taken over by force")
    check_block(storage, "beta", 0, 1)
    write(storage, "beta", 0, 2)
    storage.alpha.start()
    storage.wait_protected(30)
    check(storage.group("alpha")["owner"] == "beta", "the group moved back by itself")
    check_block(storage, "beta", 0, 2)
    storage.check_copies()


def wait_diverged(storage, serving):
    for node in storage.nodes.values():
        storage.wait_state(node.name, "diverged")
        wait_says(node, 1, "DEGRADED", "group g1 is diverged")
        node.wait_log("diverged")
    for name in serving:
        check(storage.group(name)["role"] == "owner", f"{name} stopped serving by itself")


def settle(storage, keep, drop):
    """As the documents say: what one copy alone holds is given up by hand."""
    node = storage.nodes[drop]
    check(node.stop() == 0, "it did not stop cleanly")
    (storage.memory / f"{drop}-g1.log").unlink()
    for path in (storage.world.dir / drop).iterdir():
        path.unlink()
    node.start()
    storage.wait_protected(30)
    check(storage.group(keep)["owner"] == keep, "the wrong copy counts")


@test
def forced_without_arbiter_while_the_other_goes_on(world):
    """Both serve for a while: each copy holds what the other lacks, and nobody decides but the operator."""
    storage = pair(world, arbiter=False, on_mirror_loss="continue")
    write(storage, "alpha", 0, 1)
    links(storage.alpha, "down")
    storage.wait_state("alpha", "alone")
    says(storage.beta, 1, ("no arbiter is configured",), "takeover", "g1")
    says(storage.beta, 0, ("group g1 is served here",), "takeover", "g1", "--force")
    write(storage, "alpha", 1, 10)
    write(storage, "beta", 1, 20)
    write(storage, "beta", 2, 20)
    links(storage.alpha, "up")
    wait_diverged(storage, ("alpha", "beta"))
    for node, number in (("alpha", 10), ("beta", 20)):
        check_block(storage, node, 0, 1)
        check_block(storage, node, 1, number)
    settle(storage, "beta", "alpha")
    for block, number in ((0, 1), (1, 20), (2, 20)):
        check_block(storage, "beta", block, number)
    storage.check_copies()


@test
def forced_without_arbiter_and_the_other_returns(world):
    storage = pair(world, arbiter=False, on_mirror_loss="continue")
    write(storage, "alpha", 0, 1)
    storage.beta.kill()
    storage.wait_state("alpha", "alone")
    write(storage, "alpha", 1, 10)
    storage.alpha.kill()
    storage.beta.start()
    wait_for(lambda: (storage.group("beta") or {"copy": {}})["copy"].get("condition") == "whole", "beta to have read its log")
    says(storage.beta, 0, ("group g1 is served here",), "takeover", "g1", "--force")
    write(storage, "beta", 2, 20)
    storage.alpha.start()
    wait_diverged(storage, ("beta",))
    check_block(storage, "beta", 2, 20)
    held = [path.read_bytes() for path in (storage.memory / "alpha-g1.log", world.dir / "alpha/disk1.img")]
    check(any(block_of(SEED, 1, 10) in content for content in held), "alpha lost what it alone holds")
    settle(storage, "beta", "alpha")
    check_block(storage, "beta", 2, 20)
    storage.check_copies()


# ---- hand-over


@test
def handover_without_a_link(world):
    """The owner stops, and the partner takes over; it does not come back to the owner in between."""
    # The owner would go on alone by itself very soon: here, with the time of a person's to type in between.
    storage = pair(world, {"gone_ms": 4000, "still_ms": 4000, "stall_ms": 4000, "boot_wait_ms": 10000})
    write(storage, "alpha", 0, 1)
    links(storage.alpha, "down")
    storage.wait_state("alpha", "stalled")
    says(storage.alpha, 0, ("serves group g1 no more; beta takes it over",), "handover", "g1")
    check(storage.group("alpha")["role"] != "owner", "alpha still serves")
    storage.wait_state("beta", "alone", timeout_s=30)
    check_block(storage, "beta", 0, 1)
    write(storage, "beta", 0, 2)
    storage.wait_state("alpha", "stale", timeout_s=30)
    check("group g1: alone" not in storage.alpha.log(), "alpha went on by itself")
    links(storage.alpha, "up")
    storage.wait_protected(30)
    says(storage.alpha, 1, ("this node does not serve group g1, beta does: say it there",), "handover", "g1")
    says(storage.alpha, 1, ("beta serves group g1: say it there",), "giveback", "g1")
    says(storage.beta, 0, ("is handed over to alpha",), "giveback", "g1")
    storage.wait_protected(30)
    says(storage.alpha, 1, ("nothing to give back",), "giveback", "g1")
    check_block(storage, "alpha", 0, 2)
    storage.check_copies()


@test
def handover_right_after_the_last_link_went(world):
    """Nobody has noticed yet that nothing can be sent any more. What the command says is what is so."""
    storage = pair(world, {"gone_ms": 3000, "still_ms": 3000, "stall_ms": 3000, "boot_wait_ms": 10000})
    for number in range(1, 5):
        owner = "alpha" if storage.group("alpha")["role"] == "owner" else "beta"
        other = "beta" if owner == "alpha" else "alpha"
        write(storage, owner, 0, number)
        links(storage.nodes[owner], "down")
        says(storage.nodes[owner], 0, (f"serves group g1 no more; {other} takes it over",), "handover", "g1")
        check(storage.group(owner)["role"] != "owner", f"{owner} still serves")
        storage.wait_state(other, "alone")
        check_block(storage, other, 0, number)
        check(storage.group(owner)["role"] != "owner", f"{owner} took the group back")
        links(storage.nodes[owner], "up")
        storage.wait_protected(30)
        check(storage.group(other)["role"] == "owner", "the group moved back by itself")
    storage.check_copies()


@test
def handover_is_answered_when_the_other_serves(world):
    storage = pair(world, {"handover_ms": 10000})
    for number in range(4):
        owner, other = ("alpha", "beta") if number % 2 == 0 else ("beta", "alpha")
        says(storage.nodes[owner], 0, (f"is handed over to {other}, which serves it",), "handover", "g1")
        check(storage.group(other)["role"] == "owner", f"{other} does not serve")
        storage.wait_protected(30)
    # It cannot answer, and the record names it.
    storage.beta.signal(signal.SIGSTOP)
    try:
        got, text = storage.alpha.cli_code("handover", "g1")
    finally:
        storage.beta.signal(signal.SIGCONT)
    # If the links are found dead before the command comes, this node steps down, and says just that.
    check(got == 1 or "this node serves group g1 no more" in text, f"a hand-over to a node that stands still is called done: {text}")
    storage.wait_protected(30)
    storage.check_copies()


@test
def handover_without_a_link_and_arbiter(world):
    """Nobody can say that the owner does not serve but the operator, who has made it stop."""
    storage = pair(world, arbiter=False, on_mirror_loss="hold")
    write(storage, "alpha", 0, 1)
    links(storage.alpha, "down")
    storage.wait_state("alpha", "stalled")
    says(storage.alpha, 0, ("serves group g1 no more", "only when told to: 'carrick takeover g1 --force' there"), "handover", "g1")
    says(storage.beta, 1, ("no arbiter is configured",), "takeover", "g1")
    says(storage.beta, 0, ("group g1 is served here",), "takeover", "g1", "--force")
    write(storage, "beta", 0, 2)
    links(storage.alpha, "up")
    storage.wait_protected(30)
    check_block(storage, "beta", 0, 2)
    storage.check_copies()


@test
def a_record_that_fits_no_shelf_of_the_partner(world):
    """The partner lacks a shelf that this node has: once it is written to, the partner is no member, and everybody can see it."""
    storage = Storage(world, shelves={"disk1": ("g1", 16 * MIB), "disk2": ("g1", 16 * MIB)})
    storage.beta.config = json.loads(json.dumps(storage.beta.config))
    shelves = storage.beta.config["managers"][0]["clients"][1]["config"]["shelves"]
    added = shelves.pop()
    storage.beta.write_config()
    storage.alpha.start()
    storage.beta.start()
    for shelf in ("disk1", "disk2"):
        storage.serve("alpha", shelf)
    storage.wait_protected()
    user = Nbd(storage.export("alpha", "disk2"))
    user.ask(WRITE, 0, data=b"x" * BLOCK)
    storage.wait_state("beta", "waiting")
    storage.wait_state("alpha", "alone")
    for node in ("alpha", "beta"):
        code, out = storage.nodes[node].cli_code("status")
        check(code != 0 and "shelves cannot take" in out, f"{node}: {code} {out}")
    code, out = storage.alpha.cli_code("handover", "g1")
    check(code != 0, f"it was handed to a node that cannot serve it: {out}")
    user.ask(FLUSH)
    user.close()
    # Nothing is lost with the owner: its partner serves nothing that it does not have.
    shelves.append(added)
    storage.beta.stop()
    storage.beta.write_config()
    storage.beta.start()
    storage.wait_protected(timeout_s=30)
    storage.alpha.kill()
    storage.wait_state("beta", "alone")
    storage.serve("beta", "disk2")
    user = Nbd(storage.export("beta", "disk2"))
    check(user.ask(READ, 0, BLOCK) == b"x" * BLOCK, "the write is not there")
    user.close()


if __name__ == "__main__":
    main()
