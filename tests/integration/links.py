#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Links fail in every way that cables, switches and firewalls know, under load; the session and its data do not."""
import contextlib
import json
import pathlib
import shutil

from lib import ECHO, check, main, manager, needs_root, test, wait_for
from net import net_pair, wait_links

LOAD = [{"name": f"echo{i}", "plugin": "echo", "config": ECHO["config"]} for i in range(4)]
NAMES = [one["name"] for one in LOAD]


# A session is to live through what becomes of its links, of which another one may be lost on a busy machine.
LONG = {"session_lost_ms": 20000}


def answered(node):
    return sum(node.echo(name)["answered"] for name in NAMES)


def wait_flow(*nodes, more=200):
    for node in nodes:
        start = answered(node)
        wait_for(lambda node=node, start=start: answered(node) >= start + more, f"pings of {node.name} to be answered")


def begin(*nodes):
    """Counts from here on. Returns the session that must live through what comes."""
    for node in nodes:
        for name in NAMES:
            node.cli("client", name, "reset")
    return nodes[0].session()["id"]


def check_nothing_lost(*nodes):
    for node in nodes:
        for name in NAMES:
            stats = node.echo(name)
            check(stats["lost"] == stats["mismatches"] == stats["refused"] == 0, f"{node.name}/{name}: {stats}")


def spread(node):
    return {link["name"]: link["vis"] for link in node.manager_status()["links"]}


def fails_over(world, fail, mend, cause_words=(), ipv6=False):
    """fail(net) takes link left out under load; all goes on over right; mend(net) brings it back and it is used."""
    net, alpha, beta = net_pair(world, LOAD, ipv6=ipv6, timers=LONG)
    wait_flow(alpha, beta)
    session = begin(alpha, beta)
    marks = alpha.mark(), beta.mark()
    fail(net)
    for node, mark in zip((alpha, beta), marks):
        wait_for(lambda node=node: node.link("left")["state"] != "up", f"{node.name} to see left fail")
        node.wait_event("link-down", mark, object="left")
    wait_for(lambda: spread(alpha)["left"] == 0 and spread(alpha)["right"] == 4, "all VIs to be on right")
    wait_flow(alpha, beta)
    code, out = alpha.cli_code("status")
    first = out.splitlines()[0]
    check(code == 1 and first.startswith("DEGRADED") and "left" in first, f"exit {code}, first line: {first}")

    def caused():
        cause = (alpha.link("left")["cause"] + " " + beta.link("left")["cause"]).strip()
        return cause and (not cause_words or any(word in cause for word in cause_words))

    wait_for(caused, f"a cause to be shown{', with one of ' + str(cause_words) if cause_words else ''}")
    mend(net)
    for node in (alpha, beta):
        wait_links(node, ["left", "right"], timeout_s=15)
    wait_for(lambda: spread(alpha)["left"] > 0, "VIs to spread over both links again", 15)
    wait_flow(alpha, beta)
    check(alpha.session()["id"] == session == beta.session()["id"], "the session did not live through it")
    check_nothing_lost(alpha, beta)
    wait_for(lambda: alpha.cli("status").startswith("OK"), "status to say OK after mending")
    return net, alpha, beta


@test
@needs_root
def a_link_is_cut(world):
    fails_over(world, lambda net: net.cut("beta", "left"), lambda net: net.mend("beta", "left"),
               ("carrier", "interface is switched off"))  # a node may hear it from its partner before it sees it itself


@test
@needs_root
def a_link_is_cut_with_ipv6(world):
    fails_over(world, lambda net: net.cut("beta", "left"), lambda net: net.mend("beta", "left"), (), ipv6=True)


@test
@needs_root
def a_link_drops_silently(world):
    fails_over(world, lambda net: net.drop("beta", "left"), lambda net: net.undrop("beta", "left"))


@test
@needs_root
def a_link_drops_one_way(world):
    fails_over(world, lambda net: net.drop_one_way("beta", "left"), lambda net: net.undrop_one_way("beta", "left"))


@test
@needs_root
def a_link_drops_the_other_way(world):
    fails_over(world, lambda net: net.drop_one_way("alpha", "left"), lambda net: net.undrop_one_way("alpha", "left"))


@test
@needs_root
def a_link_is_reset(world):
    mend = []
    fails_over(world, lambda net: mend.append(net.reset("beta", "left")), lambda net: mend.pop()())


@test
@needs_root
def single_connections_are_reset(world):
    """ss -K ends one connection after the other; the link as such is well."""
    net, alpha, beta = net_pair(world, LOAD, timers=LONG)
    session = begin(alpha, beta)
    for _ in range(10):
        wait_flow(alpha, more=50)
        failures = alpha.link("left")["failures"] + beta.link("left")["failures"]
        net.inside("alpha", "ss", "-K", "dst", net.address("beta", "left"))
        wait_for(lambda f=failures: alpha.link("left")["failures"] + beta.link("left")["failures"] > f, "the failure")
        for node in (alpha, beta):
            wait_links(node, ["left"])
    wait_flow(alpha, beta)
    check(alpha.session()["id"] == session, "the session did not live through it")
    check_nothing_lost(alpha, beta)


@test
@needs_root
def a_link_becomes_slow(world):
    """A slow link is not a dead one: nothing is lost, and the session stays."""
    net, alpha, beta = net_pair(world, LOAD, timers=LONG)
    session = begin(alpha, beta)
    wait_flow(alpha)
    net.slow("alpha", "left", "8mbit")
    wait_flow(alpha, beta)
    net.unslow("alpha", "left")
    wait_flow(alpha, beta)
    check(alpha.session()["id"] == session, "the session did not live through it")
    check_nothing_lost(alpha, beta)


@test
@needs_root
def links_flap_in_turn(world):
    net, alpha, beta = net_pair(world, LOAD, timers=LONG)
    session = begin(alpha, beta)
    for round_number in range(6):
        link = net.links[round_number % 2]
        side = ("alpha", "beta")[round_number // 2 % 2]
        net.cut(side, link)
        wait_for(lambda link=link: alpha.link(link)["state"] != "up", f"{link} to go")
        wait_flow(alpha, beta, more=50)
        net.mend(side, link)
        for node in (alpha, beta):
            wait_links(node, net.links, timeout_s=20)
        # A link that flapped is held for a while before it is used; the other one must not be cut meanwhile.
        wait_for(lambda link=link: all(n.link(link)["eligible"] for n in (alpha, beta)), f"{link} to be eligible", 30)
    check(alpha.session()["id"] == session == beta.session()["id"], "the session did not live through it")
    check_nothing_lost(alpha, beta)


@test
@needs_root
def the_last_link_goes_and_comes_back(world):
    net, alpha, beta = net_pair(world, LOAD, links=("left",))
    wait_flow(alpha)
    first = alpha.session()["id"]
    net.drop("beta", "left")
    for node in (alpha, beta):
        wait_for(lambda node=node: not node.up(), f"{node.name} to end the session")
        check(node.last_end()["reason"] == "link-lost", f"{node.last_end()}")
    net.undrop("beta", "left")
    for node in (alpha, beta):
        node.wait_up(20)
    check(alpha.session()["id"] != first, "the session that was lost has come back")
    wait_flow(alpha, beta)
    for node in (alpha, beta):
        for name in NAMES:
            check(node.echo(name)["mismatches"] == 0, f"{node.name}/{name}: {node.echo(name)}")


@test
@needs_root
def a_short_gap_of_the_only_link_ends_no_session(world):
    net, alpha, beta = net_pair(world, LOAD, links=("left",), timers={"session_lost_ms": 20000})
    wait_flow(alpha)
    session = begin(alpha, beta)
    net.cut("beta", "left")
    wait_for(lambda: alpha.link("left")["state"] != "up", "the link to go")
    stalled = wait_for(
        lambda: [vi for vi in alpha.manager_status()["vis"] if vi["state"] == "stalled"], "VIs to be stalled")
    check(alpha.up() and stalled, "the session waits")
    net.mend("beta", "left")
    wait_flow(alpha, beta)
    check(alpha.session()["id"] == session == beta.session()["id"], "the session did not wait")
    check_nothing_lost(alpha, beta)


@test
def an_operator_takes_a_link_down_and_up(world):
    alpha, beta = world.pair([manager(clients=LOAD, timers=LONG)])
    wait_flow(alpha, beta)
    session = begin(alpha, beta)
    alpha.cli("link", "down", "left")
    wait_links(alpha, ["left"], "admin-down")
    wait_for(lambda: spread(alpha)["right"] == 4, "all VIs to be on right")
    wait_flow(alpha, beta)
    code, out = alpha.cli_code("status")
    check(code == 1 and "taken down by command" in out.splitlines()[0], out)
    alpha.cli("link", "up", "left")
    for node in (alpha, beta):
        wait_links(node, ["left", "right"])
    wait_for(lambda: spread(alpha)["left"] > 0, "VIs to spread again")
    wait_flow(alpha, beta)
    check(alpha.session()["id"] == session, "the session did not live through it")
    check_nothing_lost(alpha, beta)


@test
def vis_are_spread_by_each_policy(world):
    for policy in ("round_robin", "least_inflight"):
        one = manager(clients=LOAD, timers=LONG)
        one["policy"] = {"plugin": policy}
        alpha, beta = world.pair([one])
        wait_for(lambda alpha=alpha: spread(alpha) == {"left": 2, "right": 2}, f"{policy} to spread 4 VIs over 2 links")
        wait_flow(alpha)
        check_nothing_lost(alpha, beta)
        alpha.stop()
        beta.stop()


def clear(etc):
    shutil.rmtree(etc)
    with contextlib.suppress(OSError):
        etc.parent.rmdir()  # unless somebody else has something in it


@test
@needs_root
def addresses_may_be_names(world):
    net, alpha, beta = net_pair(world, LOAD, links=("left",), start=False)
    for node in (alpha, beta):
        text = json.dumps(node.config).replace(net.address("alpha", "left"), "node-a.test")
        node.config = json.loads(text.replace(net.address("beta", "left"), "node-b.test"))
        node.write_config()
        # ip netns exec puts files of this directory in the place of those of /etc.
        etc = pathlib.Path("/etc/netns") / node.netns
        etc.mkdir(parents=True)
        world.cleanups.append(lambda etc=etc: clear(etc))
        (etc / "hosts").write_text(
            "127.0.0.1 localhost\n10.78.0.1 node-a.test\n10.78.0.2 node-b.test\n")
        node.start()
    for node in (alpha, beta):
        node.wait_up()
    wait_flow(alpha, beta)


if __name__ == "__main__":
    main()
