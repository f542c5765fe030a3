# SPDX-License-Identifier: Apache-2.0
"""How long a fault of one of two links interrupts the VIs. In network namespaces, which want root."""

import time

from measure import limit_row, median
from pair import NODES, Namespaces, Pair, wait_for

VIS = 4  # several, so that whichever link fails carries some of them
STREAM = {"op": "write", "size": 4096, "depth": 4}
RUN_MS = 1200


def interrupt(pair, fault, link):
    """One fault under load: milliseconds of the longest gap, and of the next longest, on any VI."""
    plan = {"streams": [{**STREAM, "vi": vi} for vi in range(VIS)], "duration_ms": RUN_MS}
    box = {}
    heal = None
    try:
        with pair.running(box, **plan):
            wait_for("the workload to run",
                     lambda: "error" in box or pair.times(NODES[0]).get("running"))
            time.sleep(0.25)  # load for a while: what was before the fault shows the machine's own gaps
            heal = fault(link)
    finally:
        if heal:
            heal()
    gaps = sorted((s["gap_ns"] / 1e6, s["second_gap_ns"] / 1e6) for s in box["answer"])
    return gaps[-1]


def faults(bench, name, what, limit_ms, fault_name, profile):
    network = Namespaces(2)
    gaps, noise = [], []
    with Pair(bench, network=network, clients=[{"vis": VIS}], profile=profile) as pair:
        pair.wait_links()
        for i in range(2 * bench.rounds):
            gap, second = interrupt(pair, getattr(network, fault_name), i % 2)
            gaps.append(gap)
            noise.append(second)
            pair.wait_links()
    yield limit_row(gaps, limit_ms, name=name, what=what, unit="ms",
                    command=f"profile {profile}; {fault_name} on one of two veth links",
                    note=f"longest gap between completions on any of {VIS} VIs; the second longest gap, "
                         f"which no fault caused, was {median(noise):.1f} ms at the median")


def reset(bench):
    """Interruption by a reset of one link's connections, under load"""
    yield from faults(bench, "reset", "VI interrupted by a link's reset", 20, "fault_reset", "normal")


def carrier(bench):
    """Interruption by a lost carrier"""
    yield from faults(bench, "carrier", "VI interrupted by a lost carrier", 20, "fault_carrier",
                      "normal")


def drop(bench):
    """Interruption by a link that drops silently, fast profile"""
    yield from faults(bench, "drop", "VI interrupted by a silent drop", 150, "fault_drop", "fast")
