#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A pair of storage servers on this machine, told as a timeline: a real file system is copied in, one node is killed under
load, the other serves on, the dead one comes back and gets its part back; then every byte is checked. Exits with 0 only if
all of it went as it should. Nothing is left behind.

As root the nodes live in network namespaces of their own; else they talk over loopback.
"""
import hashlib
import json
import os
import pathlib
import shutil
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests/integration"))
import lib  # noqa: E402
from lib import CommandError, Failure, Skip, check, run, wait_for  # noqa: E402
from nbd_load import Load  # noqa: E402
from net import Net  # noqa: E402
from storage import MIB, Storage  # noqa: E402

DEADLINE_S = 60
IMAGE_BYTES = 48 * MIB
SHELVES = {
    "files": ("g1", IMAGE_BYTES),  # takes the file system
    "load": ("g1", 16 * MIB),  # overwritten all the time, on the node that is killed
    "other": ("g2", 16 * MIB),  # the same, on the node that lives
}
TOLD = {"session-up", "session-ended", "plugin"}  # plugin: all that the storage clients find worth a notice


class Story:
    """What happened, on one clock: the time of day in milliseconds, which both daemons stamp their events with."""

    def __init__(self):
        self.start_ms = time.time() * 1000
        self.color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self.told = {}

    def paint(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self.color else text

    def act(self, text):
        """Something that the demo does. Returns when, in milliseconds since the epoch."""
        now = time.time() * 1000
        print(f"{now - self.start_ms:8.0f} ms  {self.paint('1', '>> ' + text)}", flush=True)
        return now

    def line(self, who, text, at_ms=None):
        print(f"{(at_ms or time.time() * 1000) - self.start_ms:8.0f} ms  {who:<6} {text}", flush=True)

    def tell(self, nodes):
        """The events that have come since the last time, in the order of their times."""
        fresh = []
        for node in nodes:
            with node.events_lock:
                events = node.events[self.told.get(node.name, 0):]
                self.told[node.name] = len(node.events)
            fresh += [(event["time_ms"], node.name, event) for event in events
                      if event.get("event") in TOLD]
        for at_ms, name, event in sorted(fresh, key=lambda one: one[0]):
            self.line(name, f"{event.get('object') or ''}: {event.get('text', '')}".lstrip(": "), at_ms)


# ---- a file system with real files


def make_image(directory):
    """An ext4 image with what the project's tree holds in documents and sources. Returns its path and the sums."""
    tree, image = directory / "tree", directory / "files.img"
    for part in ("docs", "include", "core", "man"):
        shutil.copytree(TOP / part, tree / part)
    (tree / "big").write_bytes(os.urandom(8 * MIB))
    with open(image, "wb") as out:
        out.truncate(IMAGE_BYTES)
    run("mkfs.ext4", "-q", "-F", "-d", tree, image)
    return image, sums_of(tree)


def sums_of(tree):
    return {str(path.relative_to(tree)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(tree.rglob("*")) if path.is_file() and "lost+found" not in path.parts}


def check_image(image, sums, directory):
    run("e2fsck", "-fn", image)
    out = directory / "out"
    out.mkdir()
    run("debugfs", "-R", f"rdump / {out}", image)
    found = sums_of(out)
    check(found == sums, f"files differ: {sorted(set(found.items()) ^ set(sums.items()))[:4]}")
    return len(sums)


def uri(path):
    return f"nbd+unix:///?socket={path}"


# ---- the acts


def start(world):
    prefix, _ = lib.install_staged(world.dir / "stage")
    namespaces = os.geteuid() == 0 and all(map(shutil.which, ("ip", "iptables")))
    plugins = next(p.parent for p in prefix.rglob("tcp.so"))
    storage = Storage(world, groups={"g1": "alpha", "g2": "beta"}, shelves=SHELVES, net=Net(world) if namespaces else None,
                      plugin_dirs=[str(plugins)], timers="default")
    for node in storage.nodes.values():
        node.binary, node.tool = prefix / "sbin/carrickd", prefix / "bin/carrick"
    return storage


def bring_up(story, storage, image):
    story.act("two nodes are started; each serves a group of shelves and mirrors its log into the other's memory")
    storage.start().wait_protected()
    story.tell(storage.nodes.values())
    for line in storage.alpha.cli_code("status")[1].splitlines():
        print(f"             | {line}")
    story.act(f"an ext4 image of {IMAGE_BYTES // MIB} MiB is copied in through NBD, to the shelf 'files' on alpha")
    run("nbdcopy", "--flush", image, uri(storage.export("alpha", "files")), timeout_s=60)
    story.act("a load with overwrites begins: on alpha's shelf 'load' and on beta's shelf 'other', every answer checked")
    loads = [Load(storage.exports("load"), blocks=2048, seed=1).start(), Load(storage.exports("other"), blocks=1024, seed=2).start()]
    wait_for(lambda: all(load.counts["writes"] > 500 for load in loads), "the load to run")
    return loads


def kill_owner(story, storage, loads):
    alpha, beta = storage.alpha, storage.beta
    at_ms = story.act("alpha is killed (SIGKILL), in the middle of it")
    at = time.monotonic()
    alpha.kill()
    first = wait_for(lambda: loads[0].first_answer_from(storage.export("beta", "load"), at), "beta to serve alpha's load", 10)
    storage.wait_state("beta", "alone")
    story.tell([beta])
    served_ms = (first - at) * 1000
    story.line("", f"beta answered the first request for alpha's shelf {served_ms:.0f} ms after the kill", at_ms + served_ms)
    wait_for(lambda: loads[0].answers_since(first) > 500, "the load to go on")
    check(loads[0].wrong == loads[1].wrong == [], f"wrong: {loads[0].wrong + loads[1].wrong}")
    return served_ms


def come_back(story, storage, loads):
    alpha, beta = storage.alpha, storage.beta
    story.act("alpha is started again: it follows, and catches up while the load goes on")
    with alpha.events_lock:
        alpha.events.clear()
    story.told["alpha"] = 0
    began = time.monotonic()
    alpha.start()
    storage.wait_protected(20)
    story.tell([alpha, beta])
    story.line("", f"both copies are equal again after {time.monotonic() - began:.1f} s")
    story.act("alpha gets its group back (carrick giveback g1)")
    at = time.monotonic()
    beta.cli("giveback", "g1")
    wait_for(lambda: (storage.group("alpha") or {}).get("owner") == "alpha", "alpha to own g1", 10)
    there = time.monotonic()
    wait_for(lambda: loads[0].answers_since(there) > 500, "the load to go on")
    storage.wait_protected(10)
    gap_ms = loads[0].gap_s(at) * 1000
    story.tell([alpha, beta])
    story.line("", f"the longest time without an answer was {gap_ms:.0f} ms")
    return gap_ms


def verify(story, storage, loads, image, sums):
    world = storage.world
    story.act("the load ends; everything is read back")
    for load in loads:
        load.stop()
        wrong = load.verify()
        check(not wrong, f"{len(wrong)} blocks are wrong: {wrong[:3]}")
    story.line("", f"{sum(l.counts['writes'] for l in loads)} writes and {sum(l.counts['reads'] for l in loads)} reads: "
                   "every answer right, no acknowledged write lost")
    back = world.dir / "back.img"
    run("nbdcopy", uri(storage.export("alpha", "files")), back, timeout_s=60)
    files = check_image(back, sums, world.dir)
    story.line("", f"e2fsck finds nothing; SHA-256 of all {files} files is right")
    story.act("both are stopped in order (SIGTERM), and the copies compared")
    storage.check_copies()
    story.line("", f"both copies of all {len(SHELVES)} shelves are equal, byte for byte")


def main():
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    world = lib.World("demo")
    story = Story()
    try:
        image, sums = make_image(world.dir)
        storage = start(world)
        story.start_ms = time.time() * 1000
        loads = bring_up(story, storage, image)
        served_ms = kill_owner(story, storage, loads)
        gap_ms = come_back(story, storage, loads)
        verify(story, storage, loads, image, sums)
        took_s = time.time() - story.start_ms / 1000
        check(took_s < DEADLINE_S, f"it took {took_s:.0f} s, which is more than {DEADLINE_S}")
        print(f"\nThe partner served {served_ms:.0f} ms after the kill; giving back interrupted the load for {gap_ms:.0f} ms;\n"
              "no acknowledged write was lost, no stale byte was read, both copies are equal.")
        return 0
    except Skip as reason:
        print(f"\nThe demo cannot run: it {reason}")
        return 1
    except (Failure, CommandError, json.JSONDecodeError) as error:
        print(f"\nThe demo failed: {error}")
        world.show_logs()
        return 1
    finally:
        world.close()


if __name__ == "__main__":
    sys.exit(main())
