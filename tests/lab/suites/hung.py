# SPDX-License-Identifier: Apache-2.0
"""A partner whose daemon stands still: its memory is read all the same, and it is called hung, not dead."""
import json

from machine import check, wait_for
from node import IWARP, ROCE, manager, need_plugins, pair
from suite import case

GUESTS = 2
ORDER = 30
PILOT = {"name": "pilot", "plugin": "pilot", "config": {"vis": 1, "regions": [4096]}}
FAILOVER = [
    {"name": "nvram", "plugin": "nvram_shadow", "config": {"groups": [
        {"name": "g1", "home": "alpha", "log_bytes": 4 << 20, "backing": "tmpfs", "path": "/dev/shm/%n-g1",
         "level": "memory"}]}},
    {"name": "failover", "plugin": "failover", "config": {"timers": "default"}},
]


def partner(node):
    return node.client("failover", "status")["partner"]


def tell(node, word, **arguments):
    return json.loads(node.cli(f"client pilot {word} '{json.dumps(arguments)}' --json"))


def stands_still(lab, link):
    need_plugins(lab, link["transport"], "failover", "nvram_shadow")
    alpha, beta = pair(lab, [manager([link], [PILOT, *FAILOVER])])
    wait_for(lambda: tell(alpha, "session")["in_session"], "the pilots' session", 30, 0.2)
    tell(alpha, "put", vi=0, there=0, offset=64, byte=90, length=16)
    check(tell(alpha, "get", vi=0, there=0, offset=64, length=16) == "5a" * 16, "the partner's memory does not hold it")
    wait_for(lambda: partner(alpha)["state"] == "up", "the monitor to call beta up", 30, 0.2)
    beta.signal("STOP")
    try:
        wait_for(lambda: partner(alpha)["state"] == "hung", "the monitor to call beta hung", 30, 0.1)
        for _ in range(5):
            # All of it is read by the device alone: the daemon there does nothing.
            check(tell(alpha, "get", vi=0, there=0, offset=64, length=16) == "5a" * 16, "not read while it stands still")
            seen = partner(alpha)
            check(seen["state"] == "hung", f"beta is called {seen['state']}: {seen['reason']}")
        check(alpha.link(link["name"])["state"] == "up", "the link is not up")
        still = tell(alpha, "partner")
        check(tell(alpha, "partner")["heartbeat"] == still["heartbeat"], "the beat of a stopped daemon goes on")
    finally:
        beta.signal("CONT")
    wait_for(lambda: partner(alpha)["state"] == "up", "the monitor to call beta up again", 40, 0.2)


@case
def over_roce(lab):
    stands_still(lab, ROCE)


@case
def over_iwarp(lab):
    stands_still(lab, IWARP)
