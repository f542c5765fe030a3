# SPDX-License-Identifier: Apache-2.0
"""A partner whose daemon stands still: its memory is read all the same, and it is called hung, not dead."""
import json
import time

from machine import check, wait_for
from node import IWARP, ROCE, manager, need_plugins, pair
from suite import case

GUESTS = 2
ORDER = 30
# A machine that is emulated may itself be slow to answer; still the daemon stands still for far longer than all of these.
TIMERS = {"link_dead_ms": 5000, "operation_ms": 8000, "session_lost_ms": 8000}
STOPPED_S = 20
PILOT = {"name": "pilot", "plugin": "pilot", "config": {"vis": 2, "regions": [4096]}}
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


def read_all(node):
    """What was written there, over each link: the policy gave the pilot's VIs one each."""
    for vi in range(2):
        check(tell(node, "get", vi=vi, there=0, offset=64, length=16) == "5a" * 16, f"VI {vi} does not read what is there")


@case
def over_both(lab):
    need_plugins(lab, "verbs", "iwarp", "failover", "nvram_shadow")
    alpha, beta = pair(lab, [manager([ROCE, IWARP], [PILOT, *FAILOVER], timers=TIMERS)])
    alpha.wait_links("roce", "iwarp")
    wait_for(lambda: tell(alpha, "session")["in_session"], "the pilots' session", 30, 0.2)
    tell(alpha, "put", vi=0, there=0, offset=64, byte=90, length=16)
    read_all(alpha)
    wait_for(lambda: partner(alpha)["state"] == "up", "the monitor to call beta up", 30, 0.2)
    before = wait_for(lambda: (links := alpha.links()) and all(one["vis"] > 0 for one in links.values()) and links,
                      "each link to have a VI", 30, 0.2)
    beta.signal("STOP")
    try:
        wait_for(lambda: partner(alpha)["state"] == "hung", "the monitor to call beta hung", 30, 0.1)
        still, end = tell(alpha, "partner"), time.monotonic() + STOPPED_S
        while time.monotonic() < end:
            # All of it is read by the device alone: the daemon there does nothing.
            read_all(alpha)
            seen = partner(alpha)
            check(seen["state"] == "hung", f"beta is called {seen['state']}: {seen['reason']}")
        seen = alpha.manager_status()["partner"]
        check(seen["heartbeat"] == still["heartbeat"], "the beat of a stopped daemon goes on")
        check(seen["read_age_ms"] < TIMERS["link_dead_ms"], f"its status line was last read {seen['read_age_ms']} ms ago")
        for name, link in alpha.links().items():
            check(link["state"] == "up" and link["failures"] == before[name]["failures"],
                  f"the link {name} did not stay up: {link['cause']}")
    finally:
        beta.signal("CONT")
    wait_for(lambda: partner(alpha)["state"] == "up", "the monitor to call beta up again", 40, 0.2)
