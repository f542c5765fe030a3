#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients as processes of their own: they behave as inline ones do; they may crash, hang and write nonsense, and the
session, the links and the other clients go on, the partner's client is told, and they come back."""
import json
import os
import pathlib
import random
import signal
import time

import clients
import lib
from lib import CALM, ECHO, CommandError, Failure, build_plugin, check, main, manager, test, wait_for
from nbd_load import Load
from storage import Storage

# The tests of clients.py, of a pilot in a process. What overstays there holds up nobody but itself.
lib._tests[:] = [one for one in lib._tests if one.__name__ != "a_client_that_overstays_is_counted_and_named"]
inline_pilot = clients.pilot
clients.pilot = lambda name="pilot", **config: {**inline_pilot(name, **config), "isolation": "process"}

# What hangs in a test is called so after HANG_MS; what is not to hang has all the time there is: it may get no processor.
HANG_MS = 1500 if not os.environ.get("SANITIZE") else 4000
PATIENT_MS = 60000


def lodger(name="lodger", process=None, hang_ms=PATIENT_MS, **config):
    client = {"name": name, "plugin": "lodger", "isolation": "process", "hang_ms": hang_ms, "config": config}
    return {**client, "process": process} if process else client


def pair(world, *all_clients, start=True, timers=CALM, **more):
    """Only alpha's processes count as hung after HANG_MS."""
    directory = build_plugin(world, "lodger")
    alpha, beta = world.pair([manager(clients=list(all_clients), timers=timers, **more)], start=False)
    for client in beta.config["managers"][0]["clients"]:
        if client.get("hang_ms") == HANG_MS:
            client["hang_ms"] = PATIENT_MS
    for node in (alpha, beta):
        node.config["plugin_dirs"].append(str(directory))
        node.write_config()
        if start:
            node.start()
    for node in (alpha, beta) if start else ():
        node.wait_up().wait_links()
    return alpha, beta


def tell(node, word, *value, client="lodger"):
    return json.loads(node.cli("client", client, word, *map(json.dumps, value), "--json"))


def shown(node, client="lodger"):
    everyone = json.loads(node.cli("clients", "--json"))[0]["clients"]
    return next(one for one in everyone if one["name"] == client)


def process(node, client="lodger"):
    return shown(node, client)["process"]


def strike(pid, how):
    """0 is the test itself, and all that it started."""
    if pid > 0:
        os.kill(pid, how)
    return pid


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def wait_back(node, since, client="lodger", timeout_s=15):
    """The process runs again, and its client is in a session."""
    node.wait_event("client-process-runs", since=since, timeout_s=timeout_s)
    wait_for(lambda: shown(node, client)["state"] == "ready", f"{client} to be in a session again", timeout_s)
    node.wait_up()


def check_only_it_was_lost(node, since, client="lodger"):
    """Between the end of the process and its coming back nothing happened to the session and the links."""
    node.wait_event("client-process-ended", since=since)
    with node.events_lock:
        names = [event["event"] for event in node.events[since:]]
    begun = names[: names.index("client-process-runs")] if "client-process-runs" in names else names
    check(not {"session-ending", "session-ended", "link-down"} & set(begun), f"{begun}")
    check(names.count("client-process-ended") == 1, f"told more than once: {names}")


def rises(node, name="echo", by=100):
    before = node.echo(name)["answered"]
    wait_for(lambda: node.echo(name)["answered"] >= before + by, f"{name} at {node.name} to go on")


# ---- as an inline client


@test
def echo_is_the_same_in_a_process(world):
    alpha, beta = world.pair([manager(clients=[{**ECHO, "isolation": "process"}])])
    for node in (alpha, beta):
        rises(node)
        stats = node.echo()
        check(stats["mismatches"] == stats["lost"] == stats["refused"] == 0, f"{node.name}: {stats}")
        check(shown(node, "echo")["isolation"] == "process" and process(node, "echo")["state"] == "running", "shown")
    wait_for(lambda: shown(alpha, "echo")["detail"].get("answered", 0) > 100, "its own state to be shown")
    pids = [process(node, "echo")["pid"] for node in (alpha, beta)]
    check(alpha.stop() == 0 and beta.stop() == 0, "the daemons end in order")
    check(all(map(gone, pids)), "a process outlived its daemon")


@test
def one_side_in_a_process_and_the_other_inline(world):
    config = world.config([manager(clients=[dict(ECHO)])])
    alpha, beta = world.node("alpha", config), world.node("beta", config)
    beta.config["managers"][0]["clients"][0]["isolation"] = "process"
    beta.write_config()
    for node in (alpha, beta):
        node.start()
    for node in (alpha, beta):
        node.wait_up()
        rises(node)
        check(node.echo()["mismatches"] == 0, f"{node.echo()}")


@test
def clients_of_one_process_use_each_others_services(world):
    alpha, beta = pair(world, lodger("giver", "house", offer=7), lodger("taker", "house", use=True))
    for node in (alpha, beta):
        check(tell(node, "number", client="taker")["used"] == 7, "the service")
        check(process(node, "giver")["pid"] == process(node, "taker")["pid"] != 0, "one process")
        check(tell(node, "number", client="giver")["pid"] == process(node, "giver")["pid"], "… that one")


@test
def the_arbiter_answers_a_process(world):
    directory = world.dir / "mailbox"
    directory.mkdir()
    alpha, _ = pair(world, lodger(), arbiter={"plugin": "mailbox", "config": {"directory": str(directory)}})
    check(tell(alpha, "arbiter", "g1") == 0, "a group of which there is no record")


@test
def a_load_of_all_operations_runs_as_inline(world):
    """Deep queues and messages that fill the rings, big and small, to the end and without an error."""
    load = {"name": "load", "plugin": "bench", "isolation": "process", "config": {"initiator": "alpha", "region_bytes": 8 << 20}}
    alpha, _ = world.pair([manager(clients=[load])])
    # The plugin is of the bench: what it answers with a status of 0 was done to the end.
    for plan in ({"op": "write", "size": 4096, "depth": 32, "count": 5000},
                 {"op": "read", "size": 65536, "depth": 16, "count": 500},
                 {"op": "write", "size": 1 << 20, "depth": 4, "count": 50},
                 {"op": "send", "size": 4096, "depth": 64, "count": 5000}):
        answer = json.loads(alpha.cli("client", "load", "run", json.dumps(plan), "--json", "--timeout", "60", timeout_s=80))
        check(answer["status"] == 0 and answer["streams"][0]["errors"] == 0, f"{plan}: {answer}")
    check(process(alpha, "load")["restarts"] == 0 and alpha.session()["state"] == "up", "nothing broke")


# ---- its end


@test
def a_killed_process_takes_nothing_with_it(world):
    """kill -9 under load: the others go on, the partner's client is told, it comes back and works again."""
    loaded = {**ECHO, "name": "loaded", "isolation": "process"}
    alpha, beta = pair(world, dict(ECHO), loaded, lodger())
    rises(alpha, "loaded")
    for client in ("loaded", "lodger"):
        since, session, pid = alpha.mark(), alpha.session()["id"], process(alpha, client)["pid"]
        strike(pid, signal.SIGKILL)
        check_only_it_was_lost(alpha, since, client)
        wait_back(alpha, since, client)
        check(alpha.session()["id"] != session, "it comes back by a new session")
        alpha.wait_log("its process runs again")  # which says why
        seen = process(alpha, client)
        check(seen["restarts"] == 1 and "signal 9" in seen["last_cause"] and seen["pid"] != pid, f"{seen}")
        for node in (alpha, beta):
            node.wait_up()
            rises(node)
            rises(node, "loaded")
            check(node.echo()["mismatches"] == node.echo("loaded")["mismatches"] == 0, "wrong data")


@test
def the_partner_is_told_while_the_session_stands(world):
    """The VIs of a dead process are closed at once, not only with the session that its return brings."""
    alpha, beta = pair(world, lodger(hang_ms=HANG_MS))
    since = alpha.mark()
    strike(process(alpha)["pid"], signal.SIGSTOP)
    wait_back(alpha, since)
    # The lodger counts those alone that were closed before it was told that the session is to end.
    wait_for(lambda: tell(beta, "number")["closed"] == 1, "the VI to have been closed at the partner")
    wait_for(lambda: tell(beta, "number")["open"] is True, "a new one in the new session")


@test
def a_hung_process_is_ended_for_certain_and_replaced(world):
    for_whom = dict(ECHO)
    alpha, beta = pair(world, for_whom, lodger(hang_ms=HANG_MS))
    for way in ("stopped", "loop"):
        since, pid = alpha.mark(), process(alpha)["pid"]
        if way == "stopped":
            strike(pid, signal.SIGSTOP)
            wait_for(lambda: process(alpha)["beat_age_ms"] > 30, "the beat to be seen standing still")
            rises(alpha)
        else:
            try:
                alpha.cli_code("client", "lodger", "stop", "--timeout", "1")
            except Failure:
                pass
        check_only_it_was_lost(alpha, since)
        check(gone(pid), "a successor may be there before its end is certain")
        wait_back(alpha, since)
        seen = process(alpha)
        check("hung" in seen["last_cause"] and seen["pid"] != pid, f"{seen}")
        rises(beta)


@test
def a_session_does_not_wait_for_a_process_that_stands_still(world):
    alpha, beta = pair(world, dict(ECHO), lodger(), timers={})
    pid, session = process(alpha)["pid"], alpha.session()["id"]
    strike(pid, signal.SIGSTOP)
    wait_for(lambda: beta.manager_status()["partner"]["clients_still_ms"] > 0, "the stand-still to be told")
    alpha.cli("session", "reset", "--why", "without it")
    wait_for(lambda: alpha.up() and alpha.session()["id"] != session, "the next session")
    rises(alpha)
    check(shown(alpha)["state"] != "ready", "it cannot be in that session")
    strike(pid, signal.SIGCONT)
    wait_for(lambda: shown(alpha)["state"] == "ready", "it to be in a session again")
    check(process(alpha)["pid"] == pid and process(alpha)["restarts"] == 0, "it did not live on")
    rises(beta)


@test
def a_process_that_dies_again_and_again_waits_longer(world):
    alpha, beta = pair(world, dict(ECHO), lodger())
    waits = []
    for _ in range(4):
        since = alpha.mark()
        strike(process(alpha)["pid"], signal.SIGKILL)
        waits.append(int(alpha.wait_event("client-process-ended", since=since)["text"].split(" in ")[1].split()[0]))
        wait_back(alpha, since)
    check(50 <= waits[0] <= 150 and 400 <= waits[3] <= 1200, f"{waits}")
    rises(beta)


@test
def nobody_writes_into_memory_that_the_next_one_looks_at(world):
    """A region over a file outlives the process, with its content; the session is ended before it is handed on."""
    path = f"/dev/shm/carrick-test-{os.getpid()}-%n"
    world.cleanups += [lambda n=n: pathlib.Path(path.replace("%n", n)).unlink(missing_ok=True) for n in ("alpha", "beta")]
    alpha, beta = pair(world, lodger(), start=False)
    for node in (alpha, beta):
        node.config["managers"][0]["clients"][0]["config"]["file"] = path.replace("%n", node.name)
        node.write_config()
        node.start()
    for node in (alpha, beta):
        node.wait_up().wait_links()
    check(tell(alpha, "number")["created"], "a new file")
    tell(alpha, "mark", 4711)
    since = alpha.mark()
    strike(process(alpha)["pid"], signal.SIGKILL)
    alpha.wait_event("client-process-ended", since=since)
    wait_back(alpha, since)
    with alpha.events_lock:
        names = [event["event"] for event in alpha.events[since:]]
    check(names.index("session-ended") < names.index("client-process-runs"), f"{names}")
    check(tell(alpha, "marked") == 4711 and not tell(alpha, "number")["created"], "its content")
    check(alpha.stop() == 0, "the end")


@test
def the_end_of_the_daemon_is_its_end(world):
    alpha, beta = pair(world, lodger("one"), lodger("two"), timers={})
    pids = [process(alpha, name)["pid"] for name in ("one", "two")]
    strike(pids[1], signal.SIGSTOP)  # cannot see for itself
    alpha.kill()
    wait_for(lambda: all(map(gone, pids)), "the processes to end with their daemon")
    pid = process(beta, "one")["pid"]
    strike(pid, signal.SIGSTOP)  # a hung one does not hold up the stop for long, whatever hang_ms is
    check(beta.stop() == 0 and gone(pid), "the stop with a hung client")


@test
def the_partner_reads_on_while_all_storage_software_is_frozen(world):
    """Claim 28: the status line and the state of the shadow are the manager's, who lives on."""
    storage = {**inline_pilot("storage"), "isolation": "process", "hang_ms": PATIENT_MS}
    alpha, beta = clients.pair(world, storage, storage, timers=CALM)
    clients.tell(beta, "shadow", 42, client="storage")
    pid = json.loads(beta.cli("clients", "--json"))[0]["clients"][0]["process"]["pid"]

    def known():
        return clients.tell(alpha, "partner", client="storage")

    wait_for(lambda: known()["shadow"] == 42, "the state of the shadow")
    wait_for(lambda: known()["still_ms"] == 0, "it to be seen moving")
    strike(pid, signal.SIGSTOP)
    seen = wait_for(lambda: known() if known()["still_ms"] > 0 else None, "the stand-still to be told", 30)
    wait_for(lambda: known()["heartbeat"] > seen["heartbeat"] + 5, "the manager's own heartbeat to move on")
    check(known()["shadow"] == 42 and known()["links_up"] == 2 and alpha.up(), f"{known()}")
    strike(pid, signal.SIGCONT)
    wait_for(lambda: known()["still_ms"] == 0, "its waking up to be told", 30)


# ---- the whole storage side in one process


class Apart(Storage):
    """Logs, shelves and the failover monitor of a node live in one process, which hangs for hang_ms before it is ended."""

    def __init__(self, world, hang_ms=HANG_MS, **options):
        self.hang_ms = hang_ms
        super().__init__(world, **options)

    def manager(self, *options):
        section = super().manager(*options)
        for client in section["clients"]:
            client.update(isolation="process", process="storage", hang_ms=self.hang_ms)
        return section

    def pid(self, node):
        return process(self.nodes[node], "nvram")["pid"]

    def partner(self, node):
        return self.nodes[node].manager_status()["partner"]

    def wait_same(self, node, since):
        """The process of a node came back, and both copies are equal again."""
        self.nodes[node].wait_event("client-process-runs", since=since, timeout_s=30)
        self.wait_protected(60)


def storage_begin(world, calm=True, **options):
    storage = Apart(world, **options)
    if calm:  # nobody is lost but by the test
        storage.calm()
    storage.start().wait_protected(30)
    load = Load(storage.exports("disk1"), blocks=256).start()
    wait_answers(load)
    return storage, load


def wait_answers(load, count=100, timeout_s=20):
    at = time.monotonic()
    wait_for(lambda: load.answers_since(at) >= count, "answers to the load", timeout_s)
    check(not load.wrong, f"wrong: {load.wrong[:5]}")


def storage_finish(storage, load):
    wait_answers(load)
    load.stop()
    wrong = load.verify()
    check(not wrong, f"{len(wrong)} wrong: {wrong[:5]}")
    storage.check_copies()


@test
def storage_serves_from_one_process(world):
    storage, load = storage_begin(world, hang_ms=PATIENT_MS)
    for node in storage.nodes.values():
        everyone = {client: process(node, client) for client in ("nvram", "shelf", "failover")}
        check(len({one["pid"] for one in everyone.values()}) == 1, f"{everyone}")
        check(everyone["shelf"]["restarts"] == 0, f"it did not live: {everyone}")
    wait_for(lambda: storage.partner("alpha")["shadow_sequence"] > 0, "the state of the shadow")
    storage_finish(storage, load)


@test
def owner_whose_storage_stands_still_loses_the_group(world):
    """Its manager lives on: the partner reads its status line, and takes over as from a hung node."""
    storage, load = storage_begin(world, hang_ms=8000)
    since = storage.alpha.mark()
    strike(storage.pid("alpha"), signal.SIGSTOP)
    before = wait_for(lambda: storage.partner("beta") if storage.partner("beta")["clients_still_ms"] > 0 else None,
                      "the stand-still to be told", 30)
    storage.wait_state("beta", "alone", timeout_s=30)
    wait_answers(load)
    wait_for(lambda: storage.partner("beta")["heartbeat"] > before["heartbeat"] + 5, "the manager's heartbeat to move on")
    storage.wait_same("alpha", since)
    check("hung" in process(storage.alpha, "nvram")["last_cause"], "why it was ended")
    check(storage.group("beta")["owner"] == "beta", "the group moved back by itself")
    storage_finish(storage, load)


@test
def shadow_whose_storage_stands_still_is_left_behind(world):
    storage, load = storage_begin(world, hang_ms=8000)
    since = storage.beta.mark()
    wait_for(lambda: storage.partner("alpha")["shadow_sequence"] > 0, "the state of the shadow")
    told = storage.partner("alpha")["shadow_sequence"]
    strike(storage.pid("beta"), signal.SIGSTOP)
    storage.wait_state("alpha", "alone", timeout_s=30)
    wait_answers(load)
    check(storage.partner("alpha")["shadow_sequence"] >= told, "the state of the shadow cannot be read any more")
    storage.wait_same("beta", since)
    storage_finish(storage, load)


@test
def storage_that_wakes_up_in_time_finds_what_became_of_the_group(world):
    """Taken over from while it stood still, thawed before it would have been ended."""
    storage, load = storage_begin(world, hang_ms=60000)
    pid = storage.pid("alpha")
    strike(pid, signal.SIGSTOP)
    storage.wait_state("beta", "alone", timeout_s=30)
    wait_answers(load, 300)
    strike(pid, signal.SIGCONT)
    storage.wait_protected(60)
    check(storage.pid("alpha") == pid, "it did not live on")
    check(storage.group("alpha")["owner"] == "beta", "the group moved back by itself")
    storage_finish(storage, load)


@test
def storage_processes_killed_at_random_moments(world):
    storage, load = storage_begin(world, calm=False)
    dice = random.Random(int(os.environ.get("KILL_SEED", "1")))
    for number in range(int(os.environ.get("KILL_ROUNDS", "8"))):
        time.sleep(dice.random() * 0.5)  # not a wait for anything: the random moment
        victims = dice.choice((["alpha"], ["beta"], ["alpha", "beta"]))
        how = dice.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP))
        since = {victim: storage.nodes[victim].mark() for victim in victims}
        for victim in victims:
            strike(storage.pid(victim), how)
        for victim in victims:
            storage.nodes[victim].wait_event("client-process-runs", since=since[victim], timeout_s=60)
        if dice.random() < 0.6:
            storage.wait_protected(60)
        wait_answers(load, timeout_s=60)
        print(f"     round {number}: {'+'.join(victims)} {how.name}", flush=True)
    storage.wait_protected(60)
    storage_finish(storage, load)


# ---- what it says


@test
def nonsense_in_what_is_shared_ends_the_process_and_nothing_else(world):
    alpha, beta = pair(world, dict(ECHO), lodger(hang_ms=HANG_MS))
    for seed in range(1, 7):
        since = alpha.mark()
        word = "scribble" if seed % 2 else "babble"
        alpha.cli_code("client", "lodger", word, str(seed * 7919))
        rises(alpha, by=5)
        check(alpha.session()["state"] in ("up", "ending", "closing") or alpha.wait_up(), "the session")
        if alpha.find_event("client-process-ended", since=since) is None:
            strike(process(alpha)["pid"], signal.SIGKILL)  # nothing was found: it begins anew all the same
        wait_back(alpha, since, timeout_s=40)
    wait_for(lambda: any(text in alpha.log() for text in ("nonsense", "no message", "there is not")), "some of it to be noticed")
    rises(beta)


@test
def a_flood_of_lines_is_cut(world):
    alpha, _ = pair(world, lodger())
    alpha.cli("client", "lodger", "flood", "--timeout", "60", timeout_s=80)
    wait_for(lambda: "lines of its log were left out" in alpha.log(), "the cut to be told")
    check(alpha.log().count(" line ") < 20000, "the flood reached the log")


# ---- its beginning


@test
def what_goes_wrong_at_the_start_is_said(world):
    for config, text in (({"fail": "cannot, today"}, "cannot, today"), ({"abort": True}, "signal 6")):
        alpha, _ = pair(world, lodger(**config), start=False)
        alpha.start(follow=False, wait=False)
        check(alpha.wait_exit() != 0, "it starts without a client that is required")
        check(text in alpha.log(), f"why: {alpha.log_tail()}")
        alpha.config["managers"][0]["clients"][0]["required"] = False
        alpha.write_config()
        alpha.start(follow=False)
        check(alpha.stop() == 0, "without it")


@test
def the_configuration_is_checked(world):
    def refused(client, *others):
        node = pair(world, *others, client, start=False)[0]
        try:
            lib.run(node.tool, "config", "check", node.config_path)
        except CommandError as error:
            return error.output
        raise Failure(f"{client} is taken")

    check("say that, or" in refused({**ECHO, "hang_ms": 500}), "hang_ms of an inline client")
    check("say that, or" in refused({**ECHO, "process": "house"}), "process of an inline client")
    check("say the same" in refused({**lodger("two", "house"), "hang_ms": 900}, lodger("one", "house")), "two budgets")
    check("100" in refused({**lodger(), "hang_ms": 5}), "a budget that nobody can keep")


if __name__ == "__main__":
    main()
