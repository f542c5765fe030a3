#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What clients ask of the manager, and get: VIs and memory, told before the session is up; more VIs while it is; remote
memory read and written; the end announced; a reset at their own wish. And what becomes of those that break the rules."""
import json
import threading

from lib import CALM, PATIENCE, CommandError, build_plugin, check, loopback_link, main, manager, test, wait_for

PAGE = 4096


def pilot(name="pilot", **config):
    return {"name": name, "plugin": "pilot", "config": {"vis": 1, "regions": [PAGE], **config}}


def tell(node, word, *value, client="pilot"):
    return json.loads(node.cli("client", client, word, *map(json.dumps, value), "--json"))


def refused(node, word, *value):
    try:
        tell(node, word, *value)
    except CommandError as error:
        return error.code == 1
    return False


def pair(world, alpha_client, beta_client, start=True, **more):
    """The two sides may ask for different things; only names and plugins must agree."""
    links = [loopback_link("left"), loopback_link("right")]
    nodes = []
    for name, client in (("alpha", alpha_client), ("beta", beta_client)):
        config = world.config([manager(links=links, clients=[client], **more)])
        config["plugin_dirs"].append(str(build_plugin(world, "pilot")))
        nodes.append(world.node(name, config))
        if start:
            nodes[-1].start()
    for node in nodes if start else []:
        node.wait_up().wait_links()
    return nodes


@test
def vis_and_memory_are_as_each_side_asked(world):
    """Claims 17 to 19: number of ports and amount of memory, collected from each client and told to the partner."""
    alpha, beta = pair(world, pilot(vis=3, regions=[PAGE, 1 << 20]), pilot(vis=5, regions=[3 * PAGE]))
    a, b = tell(alpha, "session"), tell(beta, "session")
    check(a["session"] == b["session"] == alpha.session()["id"], f"{a} {b}")
    check(a["vis"] == b["vis"] == 5, f"the larger number of VIs is made: {a['vis']} {b['vis']}")
    check(a["there"] == b["here"] == [PAGE, 1 << 20], f"what alpha asked for at beta: {a} {b}")
    check(b["there"] == a["here"] == [3 * PAGE], f"what beta asked for at alpha: {a} {b}")
    check(a["partner_version"] == 7 == b["partner_version"], f"{a} {b}")
    shown = alpha.manager_status()["clients"][0]
    check((shown["vis"], shown["here_regions"], shown["there_regions"]) == (5, 1, 2), f"{shown}")


@test
def remote_memory_is_written_and_read(world):
    """Claims 1 and 10, by the client's own API."""
    alpha, beta = pair(world, pilot(regions=[PAGE, 1 << 20]), pilot())
    for offset, length in ((0, 1), (5, 7), (PAGE - 16, 16), (0, 0)):
        tell(alpha, "put", {"there": 0, "offset": offset, "byte": 0xA5, "length": length})
        seen = tell(beta, "peek", {"here": 0, "offset": offset, "length": length})
        check(seen == "a5" * length, f"at {offset}: {seen}")
        check(tell(alpha, "get", {"there": 0, "offset": offset, "length": length}) == seen, "read back")
    tell(alpha, "put", {"there": 1, "offset": (1 << 20) - 1024, "byte": 0x17, "length": 1024})
    check(tell(beta, "peek", {"here": 1, "offset": (1 << 20) - 1024, "length": 1024}) == "17" * 1024, "the end")
    check(tell(beta, "peek", {"here": 1, "offset": (1 << 20) - 1040, "length": 16}) == "00" * 16, "before it")
    for there, offset in ((0, PAGE), (0, PAGE - 1), (1, 1 << 20), (2, 0), (0, 1 << 62)):
        check(refused(alpha, "put", {"there": there, "offset": offset, "byte": 1, "length": 2}), f"{there} {offset}")
    check(alpha.up() and tell(alpha, "put", {"byte": 1, "length": 8}) == "done", "a mistake costs nothing")


@test
def vis_are_opened_and_closed_at_the_clients_wish(world):
    """Claims 4 and 5: connection management answers what clients ask, through an API call."""
    alpha, beta = pair(world, pilot(), pilot())
    check(refused(alpha, "open", 0), "VI 0 is open already")
    # Open when both have asked: alpha's request stands until beta's comes.
    opened = []
    waiter = threading.Thread(target=lambda: opened.append(tell(alpha, "open", 9)))
    waiter.start()
    wait_for(lambda: [v for v in json.loads(alpha.cli("vis", "--json"))[0]["vis"] if v["number"] == 9
                      and v["state"] == "opening"], "VI 9 to be opening")
    check(not opened, "open with one side only")
    check(tell(beta, "open", 9) == "changed", "beta's side")
    waiter.join(30 * PATIENCE)
    check(opened == ["changed"], "alpha's side")
    tell(alpha, "send", {"vi": 9, "text": "over nine"})
    wait_for(lambda: tell(beta, "received") == "9:over nine ", "the send over VI 9")
    check(tell(beta, "close", 9) == "changed", "beta closes it")
    wait_for(lambda: refused(alpha, "send", {"vi": 9, "text": "x"}), "alpha to see it closed")
    tell(alpha, "send", {"vi": 0, "text": "zero"})
    wait_for(lambda: "0:zero" in tell(beta, "received"), "VI 0 to go on")


@test
def the_end_is_announced_and_bring_up_comes_again(world):
    """Claims 22, 23 and 30: alert, close, bring up again; here at a client's wish."""
    alpha, beta = pair(world, pilot(), pilot(), timers=CALM)
    before = {node.name: tell(node, "calls") for node in (alpha, beta)}
    check(all(c["readies"] == 1 and c["endings"] == 0 for c in before.values()), f"{before}")
    tell(alpha, "reset")
    for node in (alpha, beta):
        wait_for(lambda node=node: tell(node, "calls")["readies"] == 2, f"{node.name}'s client to be ready again")
        calls = tell(node, "calls")
        check(calls["endings"] == calls["endeds"] == 1 and calls["describes"] >= 2, f"{node.name}: {calls}")
    check(alpha.session()["last_end"]["reason"] == "client", f"{alpha.session()['last_end']}")
    alpha.wait_log("the pilot wants it")


@test
def a_killed_partner_ends_without_warning(world):
    alpha, beta = pair(world, pilot(), pilot())
    beta.kill()
    wait_for(lambda: tell(alpha, "calls")["endeds"] == 1, "the end to be told")
    calls = tell(alpha, "calls")
    check(calls["endings"] == 0, f"a dead partner leaves no time to warn: {calls}")
    check(tell(alpha, "session")["in_session"] is False, "the session goes on for the client")
    check(refused(alpha, "put", {"byte": 1, "length": 1}), "a VI outlived its session")


@test
def what_is_known_of_the_partner_moves_on(world):
    alpha, beta = pair(world, pilot(), pilot())
    first = tell(alpha, "partner")
    tell(beta, "shadow", 42)
    wait_for(lambda: tell(alpha, "partner")["shadow"] == 42, "the shadow sequence to be read from the status line")
    wait_for(lambda: tell(alpha, "partner")["heartbeat"] > first["heartbeat"], "the heartbeat to move")
    wait_for(lambda: tell(alpha, "partner")["links_up"] == 2, "both links to be known as up")


@test
def more_memory_than_there_is(world):
    """Refused for lack of resources, shown on both sides; nobody dies of it."""
    alpha, beta = pair(world, pilot(regions=[1 << 50]), pilot(), start=False)
    alpha.start()
    beta.start()
    for node in (alpha, beta):
        node.wait_refused("resources")
        check(not node.up(), f"{node.name} is up")
    alpha.stop()
    alpha.config["managers"][0]["clients"][0]["config"]["regions"] = [PAGE]
    alpha.write_config()
    alpha.start()
    alpha.wait_up()
    beta.wait_up()


@test
def a_client_that_overstays_is_counted_and_named(world):
    alpha, _ = pair(world, pilot(stay_us=30000), pilot(), timers=CALM)
    shown = wait_for(
        lambda: [c for c in alpha.manager_status()["clients"] if c["overstays"] > 0], "the overstay to be counted")
    check(shown[0]["name"] == "pilot", f"{shown}")
    alpha.wait_log("client-overstay")
    check(alpha.up(), "the session did not bear it")


if __name__ == "__main__":
    main()
