# SPDX-License-Identifier: Apache-2.0
"""Two nodes in network namespaces of their own, joined by veth pairs, and ways to break these."""
import json
import os
import subprocess

from lib import CommandError, Failure, check, manager, run, tcp_link

PORT = 7471
_serial = 0


class Net:
    """Namespaces for alpha and beta. Link i joins 10.78.i.1 and 10.78.i.2, and fd78:i::1 and ::2."""

    def __init__(self, world, links=("left", "right"), ipv6=False):
        global _serial
        _serial += 1
        self.links = list(links)
        self.ipv6 = ipv6
        self.spaces = {node: f"carrick-{os.getpid()}-{_serial}-{node}" for node in ("alpha", "beta")}
        world.cleanups.append(self.close)
        for space in self.spaces.values():
            run("ip", "netns", "add", space)
            run("ip", "-n", space, "link", "set", "lo", "up")
        for i, name in enumerate(self.links):
            self._join(i, name)

    def _join(self, i, name):
        alpha, beta = self.spaces["alpha"], self.spaces["beta"]
        run("ip", "-n", alpha, "link", "add", name, "type", "veth", "peer", "name", name, "netns", beta)
        for node, space in self.spaces.items():
            host = 1 if node == "alpha" else 2
            run("ip", "-n", space, "addr", "add", f"10.78.{i}.{host}/24", "dev", name)
            run("ip", "-n", space, "addr", "add", f"fd78:{i}::{host}/64", "dev", name, "nodad")
            run("ip", "-n", space, "link", "set", name, "up")

    def close(self):
        for space in self.spaces.values():
            try:
                run("ip", "netns", "del", space)
            except CommandError:
                pass

    def address(self, node, link):
        i, host = self.links.index(link), 1 if node == "alpha" else 2
        return f"fd78:{i}::{host}" if self.ipv6 else f"10.78.{i}.{host}"

    def tcp_links(self):
        return [
            tcp_link(name, (self.address("alpha", name), PORT), (self.address("beta", name), PORT))
            for name in self.links
        ]

    def inside(self, node, *command):
        return run("ip", "netns", "exec", self.spaces[node], *command)

    # -- breaking and mending; all of it at one node, as in the field

    def cut(self, node, link):
        run("ip", "-n", self.spaces[node], "link", "set", link, "down")

    def mend(self, node, link):
        run("ip", "-n", self.spaces[node], "link", "set", link, "up")
        # An IPv6 address goes with the interface when that is taken down.
        i, host = self.links.index(link), 1 if node == "alpha" else 2
        run("ip", "-n", self.spaces[node], "addr", "replace", f"fd78:{i}::{host}/64", "dev", link, "nodad")

    def rule(self, action, node, chain, link, *target):
        direction = "-i" if chain == "INPUT" else "-o"
        tool = "ip6tables" if self.ipv6 else "iptables"
        # -w: other tests, in other namespaces, change theirs at the same time, and there is one lock for all.
        self.inside(node, tool, "-w", action, chain, direction, link, "-p", "tcp", *target)

    def drop(self, node, link):
        """Silently, both ways."""
        self.rule("-I", node, "INPUT", link, "-j", "DROP")
        self.rule("-I", node, "OUTPUT", link, "-j", "DROP")

    def undrop(self, node, link):
        self.rule("-D", node, "INPUT", link, "-j", "DROP")
        self.rule("-D", node, "OUTPUT", link, "-j", "DROP")

    def drop_one_way(self, node, link):
        """What goes to node is lost; what it sends arrives."""
        self.rule("-I", node, "INPUT", link, "-j", "DROP")

    def undrop_one_way(self, node, link):
        self.rule("-D", node, "INPUT", link, "-j", "DROP")

    def reset(self, node, link):
        """Resets every connection of the link, as a firewall or a restarted switch may."""
        reject = ("-j", "REJECT", "--reject-with", "tcp-reset")
        self.rule("-I", node, "INPUT", link, *reject)
        return lambda: self.rule("-D", node, "INPUT", link, *reject)

    def slow(self, node, link, rate):
        run("tc", "-n", self.spaces[node], "qdisc", "replace", "dev", link, "root", "tbf", "rate", rate, "burst",
            "32kb", "latency", "50ms")

    def unslow(self, node, link):
        run("tc", "-n", self.spaces[node], "qdisc", "del", "dev", link, "root")

    def connections(self, node, link):
        """Established TCP connections of the daemon over a link."""
        out = self.inside(node, "ss", "-Htn", "state", "established")
        return sum(1 for line in out.splitlines() if f"{self.address(node, link)}" in line.replace("[", "").replace("]", ""))


def net_pair(world, clients, links=("left", "right"), ipv6=False, start=True, **more):
    """A Net, and alpha and beta in it, in session."""
    net = Net(world, links, ipv6)
    config = world.config([manager(links=net.tcp_links(), clients=clients, **more)])
    nodes = []
    for name in ("alpha", "beta"):
        node = world.node(name, config)
        node.netns = net.spaces[name]
        nodes.append(node)
    if start:
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait_up()
            wait_links(node, net.links)
    return net, *nodes


def wait_links(node, names, state="up", timeout_s=10):
    from lib import wait_for

    for name in names:
        wait_for(lambda name=name: node.link(name)["state"] == state, f"link {name} of {node.name} to be {state}",
                 timeout_s)
