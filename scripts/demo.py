#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two nodes on this machine, told as a timeline: a session comes up, a link is cut under load and comes back, a node
is killed and comes back. Exits with 0 only if all of it went as it should. Nothing is left behind.

As root the nodes live in network namespaces and a real cable is cut; else a link is taken down by command.
"""
import json
import os
import pathlib
import shutil
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests/integration"))
import lib  # noqa: E402
from lib import CommandError, Failure, check, manager, wait_for  # noqa: E402
from net import Net  # noqa: E402

LOAD = {"interval_ms": 1, "bytes": 4096, "depth": 8}
CLIENTS = [{"name": f"echo{i}", "plugin": "echo", "config": LOAD} for i in (1, 2)]
DEADLINE_S = 30

# Of the many events those that tell the story.
TOLD = {
    "session-up": "session up",
    "session-ending": "session is to end",
    "session-ended": "session ended",
    "link-up": "link up",
    "link-down": "link down",
}


class Story:
    """What happened, on one clock: the time of day in milliseconds, which both daemons stamp their events with."""

    def __init__(self):
        self.start_ms = time.time() * 1000
        self.color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self.lines, self.told = [], {}

    def paint(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self.color else text

    def act(self, text):
        """Something that the demo does."""
        now = time.time() * 1000
        print(f"{now - self.start_ms:8.0f} ms  {self.paint('1', '>> ' + text)}", flush=True)
        return now

    def line(self, at_ms, who, text):
        print(f"{at_ms - self.start_ms:8.0f} ms  {who:<6} {text}", flush=True)

    def tell(self, nodes):
        """The events that have come since the last time, in the order of their times."""
        fresh = []
        for node in nodes:
            with node.events_lock:
                events = node.events[self.told.get(node.name, 0):]
            self.told[node.name] = self.told.get(node.name, 0) + len(events)
            fresh += [(event["time_ms"], node.name, event) for event in events if event.get("event") in TOLD]
        for at_ms, name, event in sorted(fresh, key=lambda one: one[0]):
            what = TOLD[event["event"]] + (f" {event['object']}" if event.get("object") else "")
            self.line(at_ms, name, f"{what:<18} {event.get('text', '')}")


def can_make_namespaces():
    return os.geteuid() == 0 and all(map(shutil.which, ("ip", "iptables")))


def sums(node):
    stats = [node.echo(client["name"]) for client in CLIENTS]
    return {key: max(s[key] for s in stats) if key.endswith("_us") else sum(s[key] for s in stats) for key in stats[0]}


def wait_load(node, more=500):
    start = sums(node)["answered"]
    wait_for(lambda: sums(node)["answered"] >= start + more, f"{node.name}'s pings to be answered")


def all_up(node):
    status = node.manager_status()
    return status["session"]["state"] == "up" and all(link["state"] == "up" for link in status["links"])


def first_event(nodes, name, since_ms, **members):
    def probe():
        for node in nodes:
            with node.events_lock:
                for event in node.events:
                    if (event.get("event") == name and event["time_ms"] >= since_ms
                            and all(event.get(k) == v for k, v in members.items())):
                        return event
        return None

    return wait_for(probe, f"event {name}")


def start(world):
    # The example client is built as a vendor builds it: on the headers of an installation, in a copy of its own.
    prefix, pc_dir = lib.install_staged(world.dir / "stage")
    copy = world.dir / "vendor"
    lib.build_vendor_echo(copy, pc_dir)
    net = Net(world) if can_make_namespaces() else None
    links = net.tcp_links() if net else None
    plugins = next(p.parent for p in prefix.rglob("tcp.so"))
    config = world.config([manager(links=links, clients=CLIENTS)], plugin_dirs=[str(plugins), str(copy)])
    config["log"]["level"] = "info"
    nodes = [world.node(name, config) for name in ("alpha", "beta")]
    for node in nodes:
        node.netns = net.spaces[node.name] if net else None
        node.binary, node.tool = prefix / "sbin/carrickd", prefix / "bin/carrick"
    return net, nodes


def bring_up(story, nodes):
    story.act("both nodes are started; they share a key and a configuration with two TCP links, left and right")
    for node in nodes:
        node.start()
    for node in nodes:
        wait_for(lambda node=node: all_up(node), f"session and links of {node.name}")
    for node in nodes:
        wait_load(node)
    story.tell(nodes)


def cut_and_restore(story, net, nodes):
    alpha, beta = nodes
    session = alpha.session()["id"]
    for node in nodes:
        for client in CLIENTS:
            node.cli("client", client["name"], "reset")
    at_ms = story.act("the cable of left is pulled at beta, under load" if net
                      else "link left is taken down by command, under load")
    if net:
        net.cut("beta", "left")
    else:
        beta.cli("link", "down", "left")
    first_event(nodes, "link-down", at_ms - 1, object="left")
    wait_for(lambda: {vi["link"] for vi in alpha.manager_status()["vis"]} == {"right"}, "all VIs to be on right")
    for node in nodes:
        wait_load(node)
    story.tell(nodes)
    longest = max(sums(node)["longest_us"] for node in nodes) / 1000
    story.line(time.time() * 1000, "", f"all goes over right; the longest that a client waited was {longest:.1f} ms")
    at_ms = story.act("the cable is put back" if net else "link left is put back")
    if net:
        net.mend("beta", "left")
    else:
        beta.cli("link", "up", "left")
    for node in nodes:
        wait_for(lambda node=node: all_up(node), f"all links of {node.name}", 15)
        wait_load(node)
    wait_for(lambda: len({vi["link"] for vi in alpha.manager_status()["vis"]}) == 2, "VIs on both links again", 15)
    story.tell(nodes)
    check(alpha.session()["id"] == session == beta.session()["id"], "the session did not live through the cut")
    story.line(time.time() * 1000, "", "same session, VIs on both links again")
    return longest


def kill_and_return(story, nodes):
    alpha, beta = nodes
    before = sums(alpha)
    check(before["lost"] == before["mismatches"] == before["refused"] == 0, f"before the kill: {before}")
    at_ms = story.act("beta is killed (SIGKILL)")
    beta.kill()
    noticed = first_event([alpha], "link-down", at_ms - 1)
    first_event([alpha], "session-ended", at_ms - 1)
    story.tell([alpha])
    code, out = alpha.cli_code("status")
    check(code == 1, "status says that all is well")
    story.line(time.time() * 1000, "alpha", "carrick status: " + out.splitlines()[0])
    story.act("beta is started again")
    with beta.events_lock:
        beta.events.clear()
    story.told["beta"] = 0
    beta.start()
    for node in nodes:
        wait_for(lambda node=node: all_up(node), f"session and links of {node.name}")
        wait_load(node)
    story.tell(nodes)
    return max(0, noticed["time_ms"] - at_ms)


def finish(story, nodes):
    for node in nodes:
        stats = sums(node)
        check(stats["mismatches"] == 0 and stats["refused"] == 0, f"{node.name}: {stats}")
    story.act("both are stopped in order (SIGTERM)")
    for node in reversed(nodes):
        check(node.stop() == 0, f"{node.name} did not stop cleanly:\n{node.log_tail()}")


def main():
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    world = lib.World("demo")
    story = Story()
    try:
        net, nodes = start(world)
        story.start_ms = time.time() * 1000
        bring_up(story, nodes)
        longest = cut_and_restore(story, net, nodes)
        gone = kill_and_return(story, nodes)
        totals = [sums(node) for node in nodes]
        finish(story, nodes)
        took_s = time.time() - story.start_ms / 1000
        check(took_s < DEADLINE_S, f"it took {took_s:.0f} s, which is more than {DEADLINE_S}")
        print(f"\nThe cut kept a client waiting for {longest:.1f} ms at most; beta's death was noticed in {gone:.0f} ms;\n"
              f"{sum(t['answered'] for t in totals)} pings were answered; no message was lost, doubled, or ahead of its data.")
        return 0
    except (Failure, CommandError, json.JSONDecodeError) as error:
        print(f"\nThe demo failed: {error}")
        world.show_logs()
        return 1
    finally:
        world.close()


if __name__ == "__main__":
    sys.exit(main())
