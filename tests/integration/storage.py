# SPDX-License-Identifier: Apache-2.0
"""A pair of storage servers: two daemons with logs, shelves and a failover monitor, and an nbdkit for each shelf on each."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from lib import BUILD, PROFILE, CommandError, Skip, check, manager, wait_for

MIB = 1 << 20


def need_tools():
    for tool in ("nbdkit",):
        if not shutil.which(tool):
            raise Skip(f"needs the command {tool}")
    if not (BUILD / "nbdkit/nbdkit-carrick-plugin.so").exists():
        raise Skip("nbdkit's plugin was not built: needs the headers of nbdkit")


class Storage:
    """shelves: {name: (group, bytes)}; groups: {name: home node}; arbiter: True for a mailbox, False for none, or a section."""

    def __init__(self, world, groups=None, shelves=None, net=None, timers=None, log_bytes=16 * MIB, arbiter=True,
                 plugin_dirs=None, backing="tmpfs", level="memory", disks=None, nbdkit=(), **failover):
        need_tools()
        timers = timers or ("fast" if PROFILE == "fast" else "default")
        self.world, self.net = world, net
        self.groups = groups or {"g1": "alpha"}
        self.shelves = shelves or {"disk1": ("g1", 16 * MIB)}
        self.memory = pathlib.Path(tempfile.mkdtemp(prefix="carrick-", dir="/dev/shm"))
        world.cleanups.append(lambda: shutil.rmtree(self.memory, ignore_errors=True))
        self.disks = self.memory if disks == "memory" else world.dir
        self.nbdkit = ("nbdkit", *nbdkit)
        for name in ("alpha", "beta"):
            (self.disks / name).mkdir(exist_ok=True)
        (world.dir / "mailbox").mkdir(exist_ok=True)
        config = world.config([self.manager(timers, log_bytes, arbiter, backing, level, failover)],
                              **({"plugin_dirs": plugin_dirs} if plugin_dirs else {}))
        config["log"]["level"] = "info"
        self.alpha, self.beta = world.node("alpha", config), world.node("beta", config)
        self.nodes = {"alpha": self.alpha, "beta": self.beta}
        self.servers = {}
        for node in self.nodes.values():
            node.netns = net.spaces[node.name] if net else None

    def manager(self, timers, log_bytes, arbiter, backing, level, failover):
        place = self.memory if backing == "tmpfs" else self.world.dir
        clients = [
            {"name": "nvram", "plugin": "nvram_shadow", "config": {"groups": [
                {"name": group, "home": home, "log_bytes": log_bytes, "backing": backing,
                 "path": f"{place}/%n-{group}.log", "level": level}
                for group, home in self.groups.items()]}},
            {"name": "shelf", "plugin": "shelf", "config": {
                "socket": f"{self.world.dir}/%n.block",
                "shelves": [{"name": shelf, "group": group, "path": f"{self.disks}/%n/{shelf}.img", "bytes": size}
                            for shelf, (group, size) in self.shelves.items()]}},
            {"name": "failover", "plugin": "failover", "config": {"timers": timers, **failover}},
        ]
        mailbox = {"plugin": "mailbox", "config": {"directory": f"{self.world.dir}/mailbox"}}
        more = {"arbiter": mailbox if arbiter is True else arbiter} if arbiter else {}
        links = self.net.tcp_links() if self.net else None
        return manager(links=links, clients=clients, profile="fast" if timers == "fast" else "normal", **more)

    def calm(self, **timers):
        """Before the start, for a test that must see no loss but its own: a busy machine is not taken for one."""
        for node in self.nodes.values():
            section = node.config["managers"][0]
            monitor = next(one for one in section["clients"] if one["name"] == "failover")
            monitor["config"]["timers"] = {"profile": "fast", "suspect_ms": 300, "gone_ms": 700, "still_ms": 700, **timers}
            section.setdefault("timers", {}).update(link_dead_ms=700, operation_ms=5000)
            node.write_config()
        return self

    def start(self):
        for node in self.nodes.values():
            node.start()
        for name in self.nodes:
            for shelf in self.shelves:
                self.serve(name, shelf)
        return self

    # -- nbdkit

    def export(self, node, shelf):
        return self.world.dir / f"{node}-{shelf}.nbd"

    def exports(self, shelf):
        """Where a user may dial: the home of its group first."""
        home = self.groups[self.shelves[shelf][0]]
        return [self.export(node, shelf) for node in sorted(self.nodes, key=lambda name: name != home)]

    def serve(self, node, shelf):
        path = self.export(node, shelf)
        path.unlink(missing_ok=True)
        with open(self.world.dir / f"{node}-{shelf}.nbdkit.log", "ab") as log:
            process = subprocess.Popen(
                [*self.nbdkit, "--foreground", "-U", str(path), str(BUILD / "nbdkit/nbdkit-carrick-plugin.so"),
                 f"socket={self.world.dir}/{node}.block", f"shelf={shelf}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.world.environment())
        self.world.processes.append(process)
        self.servers[(node, shelf)] = process
        wait_for(path.exists, f"nbdkit of {node} to listen")

    # -- asking

    def group(self, node, group="g1"):
        """What the failover monitor of a node says of a group; None while it says nothing."""
        try:
            state = self.nodes[node].ask("client", client="failover", word="status")
        except (OSError, CommandError, json.JSONDecodeError):
            return None
        return next((one for one in state["groups"] if one["name"] == group), None)

    def state(self, node, group="g1"):
        one = self.group(node, group)
        return one["state"] if one else None

    def wait_state(self, node, *states, group="g1", timeout_s=15):
        def probe():
            state = self.state(node, group)
            return state if state in states else None

        return wait_for(probe, f"group {group} of {node} to be {' or '.join(states)} (it is {self.state(node, group)})", timeout_s)

    def wait_protected(self, timeout_s=15):
        for group in self.groups:
            for name in self.nodes:
                self.wait_state(name, "protected", group=group, timeout_s=timeout_s)
        return self

    # -- the end

    def logs(self, node):
        """What the logs' client of a node says of each group."""
        managers = self.nodes[node].status()["managers"]
        clients = {client["name"]: client for client in managers[0]["clients"]}
        return clients["nvram"]["detail"]["groups"]

    def destaged(self):
        """Nothing is in the logs that the shelves do not hold."""
        return all(group["first"] > group["last"] for node in self.nodes for group in self.logs(node))

    def check_copies(self):
        """Stops both nodes in order and compares the copies of every shelf."""
        self.wait_protected(30)
        wait_for(self.destaged, "the logs to be destaged", 60)
        for node in self.nodes.values():
            check(node.stop() == 0, f"{node.name} did not stop cleanly:\n{node.log_tail()}")
        for shelf in self.shelves:
            one, other = (self.disks / name / f"{shelf}.img" for name in self.nodes)
            done = subprocess.run(["cmp", one, other], capture_output=True, text=True, check=False)
            check(done.returncode == 0, f"the copies of shelf {shelf} differ: {done.stdout}{done.stderr}")
