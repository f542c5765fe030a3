# SPDX-License-Identifier: Apache-2.0
"""Figures over RoCE as ratios to plain verbs in the same guests in the same run: nine interleaved rounds, medians."""
import json
import re
import statistics

from machine import check, need_programs, wait_for
from node import ROCE, manager, need_plugins, pair
from suite import case

GUESTS = 2
ORDER = 90
DEFAULT = False  # takes minutes, and wants the machine for itself
ROUNDS = 9
BENCH = {"name": "bench", "plugin": "bench", "config": {"initiator": "alpha", "regions": 1, "region_bytes": 4 << 20}}


FEW, MANY = 100, 600  # the difference is counted: what does not come with operations cancels out
CALLS = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:(\d+)\s+)?(\w+)\s*$", re.MULTILINE)


def begin(lab, **more):
    need_plugins(lab, "verbs")
    need_programs("ib_write_bw", "ibv_rc_pingpong", "strace")
    alpha, beta = pair(lab, [manager([ROCE], [BENCH], **more)])
    wait_for(lambda: alpha.client("bench", "times"), "the bench's session", 30, 0.2)
    return alpha, beta


def ours(alpha, **plan):
    answer = json.loads(alpha.cli(f"--timeout 60 client bench run '{json.dumps(plan)}' --json", 80))
    check(answer.get("status") == 0, f"the bench ended with {answer}")
    return answer["streams"][0]


def pingpong_us(alpha, beta, size, count):
    server = beta.guest.spawn(f"ibv_rc_pingpong -d rxe0 -g 1 -e -s {size} -n {count}", 60)
    wait_for(lambda: beta.guest.run("ss -Hltn sport = :18515").strip(), "ibv_rc_pingpong to listen", 20, 0.1)
    out = alpha.guest.run(f"ibv_rc_pingpong -d rxe0 -g 1 -e -s {size} -n {count} 10.0.1.2", 60)
    server.wait(20)
    return float(re.search(r"([\d.]+) usec/iter", out).group(1))


def write_bw(alpha, beta, size, count):
    server = beta.guest.spawn(f"ib_write_bw -d rxe0 -x 1 -F -s {size} -n {count}", 60)
    wait_for(lambda: beta.guest.run("ss -Hltn sport = :18515").strip(), "ib_write_bw to listen", 20, 0.1)
    out = alpha.guest.run(f"ib_write_bw -d rxe0 -x 1 -F -s {size} -n {count} 10.0.1.2", 60)
    server.wait(20)
    return float(next(line.split() for line in out.splitlines() if line.split()[:1] == [str(size)])[3])


def said(one, other, unit):
    ratio = statistics.median(one) / statistics.median(other)
    spread = sorted(a / b for a, b in zip(one, other))
    return ratio, (f"{statistics.median(one):.3g} to {statistics.median(other):.3g} {unit}, ratio {ratio:.2f} "
                   f"(rounds: {spread[0]:.2f} to {spread[-1]:.2f})")


def latency(lab, size, count):
    alpha, beta = begin(lab)
    here, there = [], []
    for _ in range(ROUNDS):
        here.append(ours(alpha, op="write", size=size, count=count)["median_ns"] / 1000)
        there.append(pingpong_us(alpha, beta, size, count))
    ratio, text = said(here, there, "us")
    check(ratio <= 1.25, f"more than 1.25 times ibv_rc_pingpong -e: {text}")
    return text


def traced(alpha, node, count):
    """The system calls of a node's daemon during so many writes, without those that found nothing: name to number."""
    pid = node.pid()
    strace = node.guest.spawn(f"strace -c -f -o /tmp/strace.txt -p {pid} 2>/dev/null & echo $! >/run/strace.pid; wait; true", 120)
    wait_for(lambda: node.guest.run_code(f"! grep -l '^TracerPid:.0$' /proc/{pid}/task/*/status")[0] == 0,
             "strace to be attached", 30, 0.2)
    ours(alpha, op="write", size=4096, count=count)
    node.guest.run("kill -INT $(cat /run/strace.pid)")
    strace.wait(30)
    found = CALLS.findall(node.guest.run("cat /tmp/strace.txt"))
    return {name: int(calls) - int(failed or 0) for calls, failed, name in found if name != "total"}


def calls(lab, poll_us):
    alpha, beta = begin(lab, poll_us=poll_us)
    said_of = []
    for role, node in (("writer", alpha), ("target", beta)):
        few, many = (traced(alpha, node, count) for count in (FEW, MANY))
        each = {name: (many[name] - few.get(name, 0)) / (MANY - FEW) for name in many}
        parts = ", ".join(f"{name} {n:.2f}" for name, n in sorted(each.items(), key=lambda one: -one[1]) if n >= 0.05)
        said_of.append(f"{role} {sum(each.values()):.2f} ({parts})")
    return "; ".join(said_of)


@case
def latency_of_8_bytes(lab):
    return latency(lab, 8, 100)


@case
def latency_of_4_kib(lab):
    return latency(lab, 4096, 100)


@case
def bandwidth_of_64_kib(lab):
    alpha, beta = begin(lab)
    here, there = [], []
    for _ in range(ROUNDS):
        answer = ours(alpha, op="pipeline", size=65536, depth=16, duration_ms=2000, warmup=20)
        here.append(answer["bytes_per_s"] / (1 << 20))
        there.append(write_bw(alpha, beta, 65536, 200))
    ratio, text = said(here, there, "MiB/s")
    check(ratio >= 0.90, f"less than 0.90 of ib_write_bw: {text}")
    return text


@case
def system_calls_waiting(lab):
    return calls(lab, 0)


@case
def system_calls_polling(lab):
    return calls(lab, 1000)
