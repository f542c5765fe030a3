# SPDX-License-Identifier: Apache-2.0
"""A partner whose daemon stands still: its memory and its copy of the log are read all the same, over RoCE alone and over iWARP
alone, and it is called hung, not dead."""
import json
import sys
import time

from machine import PATIENCE, TOP, check, need_programs, wait_for
from node import IWARP, ROCE, manager, need_plugins, pair
from suite import case

sys.path.append(str(TOP / "tests/integration"))

GUESTS = 2
ORDER = 30
DOORS = [10809]
# A machine that is emulated may itself be slow to answer; still the daemon stands still for longer than all of these.
TIMERS = {"link_dead_ms": 5000, "operation_ms": 8000, "session_lost_ms": 8000}
STOPPED_S = 10
CLIENTS = [
    {"name": "pilot", "plugin": "pilot", "config": {"vis": 1, "regions": [4096]}},
    {"name": "nvram", "plugin": "nvram_shadow", "config": {"groups": [
        {"name": "g1", "home": "alpha", "log_bytes": 4 << 20, "backing": "tmpfs", "path": "/dev/shm/%n-g1",
         "level": "memory"}]}},
    {"name": "shelf", "plugin": "shelf", "config": {"socket": "/run/carrick-%n.block", "shelves": [
        {"name": "disk1", "group": "g1", "path": "/dev/shm/disk1.img", "bytes": 4 << 20}]}},
    {"name": "failover", "plugin": "failover", "config": {"timers": "default"}},
]


def partner(node):
    return node.client("failover", "status")["partner"]


def group(node):
    return node.client("failover", "status")["groups"][0]


def tell(node, word, **arguments):
    return json.loads(node.cli(f"client pilot {word} '{json.dumps(arguments)}' --json"))


def read_region(node):
    check(tell(node, "get", vi=0, there=0, offset=64, length=16) == "5a" * 16, "not what is there was read")


class Disk:
    """Alpha's shelf, as its user sees it: no read is answered before alpha has read its partner's promise, which lies in the
    partner's copy of the log, by a remote read."""

    def __init__(self, alpha):
        import nbd_load  # pylint: disable=import-outside-toplevel
        self.alpha, self.nbd_load = alpha, nbd_load
        alpha.export("disk1")
        self.nbd, _ = nbd_load.dial([alpha.guest.door(DOORS[0])], time.monotonic() + 20 * PATIENCE)
        check(self.nbd, "nobody serves the shelf")
        self.data = nbd_load.block_of(1, 0, 1)
        self.nbd.ask(nbd_load.WRITE, 0, data=self.data)

    def read(self):
        check(self.nbd.ask(self.nbd_load.READ, 0, len(self.data)) == self.data, "the shelf does not hold what was written")

    def copy_reads(self):
        """How many remote reads of the partner's copy are done: the group's second VI does nothing else."""
        vis = self.alpha.manager_status()["vis"]
        return next(one["completed"] for one in vis if one["client"] == "nvram" and one["number"] == 1)


def use_alone(name, nodes):
    """The other link is taken out of use."""
    alpha, other = nodes[0], "iwarp" if name == "roce" else "roce"
    alpha.cli(f"link up {name}")
    for node in nodes:
        node.wait_links(name)
    alpha.cli(f"link down {other}")
    for node in nodes:
        wait_for(lambda node=node: all(one["link"] == name for one in node.manager_status()["vis"]),
                 f"all VIs of {node.name} to be on {name}", 30, 0.2)


def stands_still(name, alpha, beta, disk):
    """Beta's daemon, with this link alone."""
    use_alone(name, (alpha, beta))
    wait_for(lambda: group(alpha)["state"] == "protected", "the group to be protected", 60, 0.2)
    before, reads = alpha.link(name), 0
    beta.signal("STOP")
    try:
        wait_for(lambda: partner(alpha)["state"] == "hung", "the monitor to call beta hung", 30, 0.1)
        still, copy_reads, end = tell(alpha, "partner"), disk.copy_reads(), time.monotonic() + STOPPED_S
        while time.monotonic() < end:
            # All of it is read by the device alone: the daemon there does nothing.
            read_region(alpha)
            disk.read()
            reads += 1
            seen = partner(alpha)
            check(seen["state"] == "hung", f"beta is called {seen['state']}: {seen['reason']}")
        copy_reads = disk.copy_reads() - copy_reads
        check(copy_reads >= reads, f"{reads} reads of the shelf were answered after {copy_reads} of the partner's copy")
        seen = alpha.manager_status()["partner"]
        check(seen["heartbeat"] == still["heartbeat"], "the beat of a stopped daemon goes on")
        check(seen["read_age_ms"] < TIMERS["link_dead_ms"], f"its status line was last read {seen['read_age_ms']} ms ago")
        link = alpha.link(name)
        check(link["state"] == "up" and link["failures"] == before["failures"],
              f"the link {name} did not stay up: {link['cause']}")
    finally:
        beta.signal("CONT")
    wait_for(lambda: partner(alpha)["state"] == "up", "the monitor to call beta up again", 40, 0.2)
    return f"over {name} alone {reads} reads of its memory, and {copy_reads} of its copy of the log"


@case
def over_each(lab):
    need_plugins(lab, "verbs", "iwarp", "failover", "nvram_shadow", "shelf")
    need_programs("nbdkit")
    nodes = alpha, beta = pair(lab, [manager([ROCE, IWARP], CLIENTS, timers=TIMERS)])
    for node in nodes:
        node.wait_links("roce", "iwarp")
    wait_for(lambda: tell(alpha, "session")["in_session"], "the pilots' session", 30, 0.2)
    tell(alpha, "put", vi=0, there=0, offset=64, byte=90, length=16)
    wait_for(lambda: partner(alpha)["state"] == "up", "the monitor to call beta up", 30, 0.2)
    wait_for(lambda: group(alpha)["state"] == "protected" and group(alpha)["owner"] == "alpha",
             "alpha to own the group, protected", 60, 0.2)
    disk = Disk(alpha)
    return "; ".join(stands_still(name, alpha, beta, disk) for name in ("roce", "iwarp"))
