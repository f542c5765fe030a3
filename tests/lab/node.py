# SPDX-License-Identifier: Apache-2.0
"""carrickd in the guests: configuration, start, questions."""
import json
import os
import pathlib
import secrets
import subprocess

from machine import NAMES, TOP, Failure, Skip, check, wait_for

PORT = {"verbs": 7471, "iwarp": 7472, "tcp": 7473}
ECHO = {"name": "echo", "plugin": "echo", "config": {"interval_ms": 20, "bytes": 4096, "depth": 2}}
# One for each of two links, over which each node's policy spreads its VIs. Small pings: an emulated processor takes 10 ms
# to look through 4 KiB.
ECHOES = [{"name": f"echo{i}", "plugin": "echo", "config": {"interval_ms": 20, "bytes": 512, "depth": 1}} for i in range(2)]


def link(name, transport, card):
    """A link over card 0 (verbs, tcp) or card 1 (iwarp, tcp)."""
    port = PORT[transport] + 10 * card
    return {"name": name, "transport": transport, "nodes": {
        node: {"address": f"10.0.{card + 1}.{i + 1}", "port": port} for i, node in enumerate(NAMES)}}


ROCE, IWARP = link("roce", "verbs", 0), link("iwarp", "iwarp", 1)
TCP_BESIDE_ROCE, TCP_BESIDE_IWARP = link("tcp0", "tcp", 0), link("tcp1", "tcp", 1)


def need_plugins(lab, *names):
    for name in names:
        if not (lab.build / f"plugins/{name}.so").exists():
            raise Skip(f"{name}.so is not built")


def build_plugins(lab):
    """The vendor's example and the tests' pilot, built on the host, as a directory of plugins that every guest sees."""
    target = lab.dir / "plugins"
    if not target.exists():
        target.mkdir()
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "json-c"], stdout=subprocess.PIPE, text=True,
                               check=True).stdout.split()
        for name, sources in (("echo", sorted((TOP / "examples/echo").glob("*.c"))),
                              ("pilot", [TOP / "tests/integration/pilot.c"])):
            subprocess.run([os.environ.get("CC", "cc"), "-std=gnu11", "-O1", "-g", "-shared", "-fPIC", f"-I{TOP}/include",
                            *map(str, sources), *flags, "-o", str(target / f"{name}.so")], check=True)
    return pathlib.Path("/host") / target.relative_to("/")


def manager(links, clients, profile="normal", **more):
    return {"name": "main", "profile": profile, "policy": {"plugin": "round_robin"}, "links": links,
            "clients": clients, **more}


def config(lab, managers, level="info", **more):
    return {
        "cluster": "lab",
        "key_file": "/tmp/key",
        "plugin_dirs": [f"{lab.build}/plugins", f"{lab.build}/test-plugins", str(build_plugins(lab))],
        "nodes": list(NAMES),
        "control": {"socket": "/run/carrick-%n.sock"},
        "log": {"level": level},
        "managers": managers,
        **more,
    }


class Look:
    """What a manager says of itself at one moment: asking costs an emulated machine a quarter of a second."""

    def __init__(self, status):
        self.links = {one["name"]: one for one in status["links"]}
        self.echoes = {one["name"]: one["detail"] for one in status["clients"] if one["plugin"] == "echo"}
        self.vis = status["vis"]

    def up(self, *names):
        return all(self.links[name]["state"] == "up" for name in names)

    def carried(self, link):
        """The clients that have a VI on this link, as this node has placed them."""
        return {one["client"] for one in self.vis if one["link"] == link}

    def answered_since(self, before, more):
        return all(echo["answered"] >= before.echoes[name]["answered"] + more for name, echo in self.echoes.items())

    def failover_ms(self, clients):
        """The longest round trip of these echo clients since they were reset. Each had to go over to another link."""
        for name in clients:
            check(self.echoes[name]["stalls"] > 0, f"{name}'s VI was not on a link that went: {self.echoes[name]}")
        return max(self.echoes[name]["longest_us"] for name in clients) / 1000


class Node:
    """One carrickd in its guest."""

    def __init__(self, lab, name, settings, key):
        self.lab, self.name, self.settings, self.key = lab, name, settings, key
        self.guest = lab.guests[name]
        # Questions leave the processor to the daemon, whose links are dead after 80 ms in the profile fast.
        self.tool = f"nice -n 19 {lab.build}/bin/carrick --socket /run/carrick-{name}.sock"
        self.daemon = f"{lab.build}/bin/carrickd"
        self.log_path = f"/tmp/carrickd-{name}.log"

    def write(self):
        """What the daemon reads lies in the guest's own memory: it is not there after a power cut."""
        for file, text in (("config.json", json.dumps(self.settings, indent=1)), ("key.txt", self.key)):
            (self.guest.share / file).write_text(text)
        self.guest.run("cp /lab/config.json /tmp/config.json; install -m 600 /lab/key.txt /tmp/key")

    def start(self, wait=True, options=""):
        self.write()
        # The daemon is the shell's last command: its number is the one that is kept.
        self.guest.run(
            f"setsid {self.daemon} --config /tmp/config.json --node {self.name} {options} "
            f">>{self.log_path} 2>&1 </dev/null & echo $! >/run/carrickd.pid")
        if wait:
            wait_for(self.answers, f"{self.name} to answer on its control socket", 30, 0.2)
        return self

    def export(self, shelf):
        """Users reach the shelf through nbdkit."""
        plugin = self.lab.build / "nbdkit/nbdkit-carrick-plugin.so"
        if not plugin.exists():
            raise Skip("nbdkit's plugin is not built")
        self.guest.run(f"setsid nbdkit --foreground -p 10809 {plugin} socket=/run/carrick-{self.name}.block shelf={shelf} "
                       ">>/tmp/nbdkit.log 2>&1 </dev/null &")

    def pid(self):
        return self.guest.run("cat /run/carrickd.pid").strip()

    def alive(self):
        return self.guest.run_code(f"kill -0 {self.pid()}")[0] == 0

    def answers(self):
        code, output = self.guest.run_code(f"{self.tool} version --json")
        if code != 0 and not self.alive():
            raise Failure(f"carrickd of {self.name} has ended:\n{self.log_tail()}")
        return code == 0 and output

    def log_tail(self, lines=30):
        return self.guest.run_code(f"tail -n {lines} {self.log_path}")[1]

    # -- asking

    def cli(self, words, timeout_s=30):
        return self.guest.run(f"{self.tool} {words}", timeout_s)

    def cli_code(self, words, timeout_s=30):
        return self.guest.run_code(f"{self.tool} {words}", timeout_s)

    def status(self):
        text = self.cli_code("status --json")[1]
        return json.loads(text)

    def manager_status(self):
        return self.status()["managers"][0]

    def session(self):
        return self.manager_status()["session"]

    def link(self, name):
        return next(one for one in self.manager_status()["links"] if one["name"] == name)

    def links(self):
        return {one["name"]: one for one in self.manager_status()["links"]}

    def look(self):
        return Look(self.manager_status())

    def reset_echoes(self):
        self.guest.run(" && ".join(f"{self.tool} client {one['name']} reset" for one in ECHOES))

    def client(self, name, words):
        return json.loads(self.cli(f"client {name} {words} --json"))

    def wait_up(self, timeout_s=40):
        wait_for(lambda: self.session()["state"] == "up", f"{self.name}'s session to be up", timeout_s, 0.2)
        return self

    def wait_links(self, *names, state="up", timeout_s=40):
        def probe():
            links = self.links()
            return all(links[name]["state"] == state for name in names)

        wait_for(probe, f"links {' '.join(names)} of {self.name} to be {state}", timeout_s, 0.2)

    def wait_answered(self, more=20, timeout_s=40):
        """Each echo client gets answers to pings that it sends from now on. Returns the last look."""
        start = self.look()
        return wait_for(lambda: (look := self.look()).answered_since(start, more) and look,
                        f"{self.name}'s echo to get answers", timeout_s, 0.1)

    def check_sound(self):
        """All that was sent arrived, and as it was sent."""
        for name, stats in self.look().echoes.items():
            check(stats["mismatches"] == stats["refused"] == stats["lost"] == 0, f"{self.name}: {name}: {stats}")

    # -- its end

    def signal(self, name):
        self.guest.run(f"kill -{name} {self.pid()}")

    def stop(self, timeout_s=30):
        self.signal("TERM")
        wait_for(lambda: not self.alive(), f"carrickd of {self.name} to end", timeout_s, 0.1)
        # Not by a signal of its own: that is its last line.
        last = self.log_tail(1)
        check("all managers have stopped" in last, f"carrickd of {self.name} did not end in order: {last}")


def pair(lab, managers, start=True, **more):
    """alpha and beta with the same configuration; with start, running and in session."""
    settings, key = config(lab, managers, **more), secrets.token_hex(32)
    nodes = [Node(lab, name, json.loads(json.dumps(settings)), key) for name in NAMES]
    if start:
        for node in nodes:
            node.start(wait=False)
        for node in nodes:
            wait_for(node.answers, f"{node.name} to answer on its control socket", 40, 0.2)
        for node in nodes:
            node.wait_up()
    return nodes


def wait_carried(nodes, *names):
    """Waits until these links are all up at each node, and each carries a VI there. Returns what was seen. A link that has just
    come up carries none yet, and takes some from the others later: where each has its share, they rest."""
    def probe():
        looks = [node.look() for node in nodes]
        return all(look.up(*names) and all(map(look.carried, names)) for look in looks) and looks

    return wait_for(probe, f"{' and '.join(names)} to carry VIs of both nodes", 60, 0.1)
