#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A busy machine is not taken for a dead partner: with all cores full, no monitor sees a loss that is none. STEADY_S says for
how many seconds (10); for more than some 250, TEST_PATIENCE gives it the time.

Where the machine itself stands still (a core that a hypervisor gives to others), a partner is as silent as a dead one, and a
loss is no mistake. A witness of real-time priority on each core counts such stalls, and each excuses one loss on each node.
"""
import os
import subprocess
import sys

from lib import TOP, Skip, check, main, run, test
from nbd_load import Load
from storage import Storage

STEADY_S = float(os.environ.get("STEADY_S", "10"))
GONE_MS = {"default": 200, "fast": 60}


def spin_for(seconds):
    """One program for each core that does nothing but run."""
    argv = [sys.executable, "-c", f"import time\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass"]
    return [subprocess.Popen(argv) for _ in range(os.cpu_count())]


def stalls_during(world, limit_ms, work):
    """Does the work; how often a core stood still meanwhile for limit_ms and more, and the longest, in ms."""
    binary = world.dir / "stall_witness"
    run(os.environ.get("CC", "cc"), "-std=gnu11", "-O1", "-pthread", TOP / "bench/stall_witness.c", "-o", binary)
    witness = subprocess.Popen([str(binary), str(limit_ms)], stdout=subprocess.PIPE, text=True)
    world.processes.append(witness)
    work()
    witness.terminate()
    _, longest_ms, count = witness.communicate(timeout=10)[0].split()
    return int(count), int(longest_ms)


def losses(storage):
    return sum(node.ask("client", client="failover", word="status")["partner"]["losses"]
               for node in storage.nodes.values())


def steady(world, timers):
    if os.environ.get("SANITIZE"):
        raise Skip("how long a sanitized daemon takes says nothing")
    storage = Storage(world, timers=timers).start().wait_protected()
    before = losses(storage)
    load = Load(storage.exports("disk1"), blocks=512, writers=2).start()

    def work():
        spinning = spin_for(STEADY_S)
        world.processes.extend(spinning)
        for one in spinning:
            one.wait(STEADY_S * 3 + 30)

    # Half of what makes a loss: the silence may have begun just before the stall.
    count, longest_ms = stalls_during(world, GONE_MS[timers] // 2, work)
    seen = losses(storage) - before
    load.stop()
    print(f"NOTE {timers} timers, {STEADY_S:g} s: {seen} losses; cores stood still {count} times for {GONE_MS[timers] // 2} ms "
          f"and more, {longest_ms} ms at the longest", flush=True)
    check(seen <= 2 * count, f"{seen} losses of a partner that was only busy")
    wrong = load.verify()
    check(not wrong, f"{len(wrong)} wrong: {wrong[:5]}")


@test
def default_timers(world):
    steady(world, "default")


@test
def fast_timers(world):
    steady(world, "fast")


if __name__ == "__main__":
    main()
