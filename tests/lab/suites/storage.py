# SPDX-License-Identifier: Apache-2.0
"""A storage pair over RoCE and iWARP whose nodes freeze, fail or lose their power, under a load whose every answer is checked."""
import shutil
import sys
import time

from machine import PATIENCE, TOP, Failure, check, need_programs, wait_for
from node import IWARP, ROCE, manager, need_plugins, pair
from suite import case

sys.path.append(str(TOP / "tests/integration"))

GUESTS = 2
ORDER = 40
DISKS = [96]
DOORS = [10809]
MIB = 1 << 20
TAKEOVER_S = 2  # from the owner's power cut to the first read that its partner answers


class Storage:
    """The log and the shelf lie on a disk of the guest, which outlives its power; the load runs on the host."""

    def __init__(self, lab):
        from nbd_load import Load  # pylint: disable=import-outside-toplevel
        need_plugins(lab, "verbs", "iwarp", "failover", "nvram_shadow", "shelf", "mailbox")
        need_programs("nbdkit", "mkfs.ext4")
        self.lab = lab
        clients = [
            {"name": "nvram", "plugin": "nvram_shadow", "config": {"groups": [
                {"name": "g1", "home": "alpha", "log_bytes": 8 * MIB, "backing": "file", "path": "/mnt/g1.log",
                 "level": "persistent"}]}},
            {"name": "shelf", "plugin": "shelf", "config": {"socket": "/run/carrick-%n.block", "shelves": [
                {"name": "disk1", "group": "g1", "path": "/mnt/disk1.img", "bytes": 8 * MIB}]}},
            {"name": "failover", "plugin": "failover", "config": {"timers": "default"}},
        ]
        mailbox = {"plugin": "mailbox", "config": {"directory": "/common/mailbox"}}
        # New disks: what the arbiter knows of the last case's copies would keep these from being members.
        shutil.rmtree(lab.common / "mailbox", ignore_errors=True)
        (lab.common / "mailbox").mkdir()
        self.nodes = dict(zip(("alpha", "beta"), pair(
            lab, [manager([ROCE, IWARP], clients, arbiter=mailbox)], start=False)))
        self.alpha, self.beta = self.nodes["alpha"], self.nodes["beta"]
        for node in self.nodes.values():
            node.guest.run("mkfs.ext4 -q -F /dev/vda", 60)
        self.start("alpha", "beta")
        self.wait_protected()
        self.load = Load([lab.guests[name].door(10809) for name in ("alpha", "beta")], blocks=128, writers=2).start()
        self.wait_answers(30)

    def start(self, *names):
        for name in names:
            guest = self.nodes[name].guest
            guest.run("mountpoint -q /mnt || { /run/modprobe ext4; mount /dev/vda /mnt; }", 30)
            self.nodes[name].start(wait=False)
        for name in names:
            wait_for(self.nodes[name].answers, f"{name} to answer", 40, 0.2)
            self.nodes[name].export("disk1")

    def boot(self, *names):
        for name in names:
            self.nodes[name].guest.power_on()
        for name in names:
            self.nodes[name].guest.wait_boot()
        self.start(*names)

    def group(self, name):
        return self.nodes[name].client("failover", "status")["groups"][0]

    def wait_state(self, name, state, timeout_s=60):
        wait_for(lambda: self.group(name)["state"] == state, f"the group to be {state} at {name}", timeout_s, 0.2)

    def wait_protected(self):
        for name in self.nodes:
            self.wait_state(name, "protected", 90)

    def wait_answers(self, count=30, timeout_s=60):
        at = time.monotonic()
        wait_for(lambda: self.load.answers_since(at) >= count, "answers to the load", timeout_s)
        check(not self.load.wrong, f"wrong: {self.load.wrong[:5]}")

    def owner_and_other(self):
        owner = wait_for(lambda: self.group("alpha")["owner"], "somebody to own the group", 60, 0.2)
        return owner, next(name for name in self.nodes if name != owner)

    def step(self, what, function, *arguments):
        """Several of them share one start of the pair, which takes longer than they do."""
        began = time.monotonic()
        try:
            said = function(self, *arguments)
        except Failure as failure:
            raise Failure(f"{what}: {failure}") from None
        print(f"     {what}: {time.monotonic() - began:.0f} s", flush=True)
        return said

    def finish(self):
        self.load.stop()
        wrong = self.load.verify(60)
        check(not wrong, f"{len(wrong)} wrong: {wrong[:5]}")


def owner_loses_its_power(storage):
    owner, other = storage.owner_and_other()
    partner = storage.nodes[other].guest.door(10809)
    at = time.monotonic()
    storage.nodes[owner].guest.power_cut()
    gap_s = wait_for(lambda: storage.load.first_answer_from(partner, at, ["reads"]), f"{other} to serve", 60) - at
    check(gap_s <= TAKEOVER_S * PATIENCE, f"the first read was answered {gap_s:.2f} s after the power cut")
    storage.wait_state(other, "alone")
    storage.wait_answers()
    storage.boot(owner)
    storage.wait_protected()
    storage.wait_answers()
    return f"the partner answered its first read {gap_s:.2f} s after the owner's power was cut"


def both_lose_their_power(storage, owner_first):
    order = storage.owner_and_other()
    for node in storage.nodes.values():
        node.guest.power_cut()
    for name in order if owner_first else reversed(order):
        storage.boot(name)
    storage.wait_protected()
    storage.wait_answers()


@case
def power_cuts(lab):
    """Of the owner; of both, whichever of them is back first. Every answer of the load holds through all of it."""
    storage = Storage(lab)
    said = storage.step("the owner loses its power", owner_loses_its_power)
    storage.step("both lose their power, the owner is back first", both_lose_their_power, True)
    storage.step("both lose their power, the shadow is back first", both_lose_their_power, False)
    storage.finish()
    return said


def owner_freezes(storage):
    """Its clock stood still: it does not know that it was away."""
    owner, other = storage.owner_and_other()
    storage.nodes[owner].guest.freeze()
    storage.wait_state(other, "alone")
    storage.wait_answers()
    storage.nodes[owner].guest.thaw()
    storage.wait_protected()
    check(storage.group(other)["owner"] == other, "ownership went back by itself")
    storage.wait_answers()


def owner_loses_its_devices(storage):
    """Both interfaces are switched off there: its partner serves, and it is the shadow when they are back."""
    owner, other = storage.owner_and_other()
    guest = storage.nodes[owner].guest
    guest.run("ip link set eth0 down; ip link set eth1 down")
    storage.wait_state(other, "alone")
    check(storage.group(other)["owner"] == other, "the partner did not take over")
    storage.wait_answers()
    guest.run("ip link set eth0 up; ip link set eth1 up")
    storage.wait_protected()
    storage.wait_answers()


@case
def owner_is_away(lab):
    """It freezes and comes back; its devices fail and come back."""
    storage = Storage(lab)
    storage.step("the owner freezes and comes back", owner_freezes)
    storage.step("the owner's devices fail", owner_loses_its_devices)
    storage.finish()
