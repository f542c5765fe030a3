# SPDX-License-Identifier: Apache-2.0
"""System calls, allocations and copies of one 4 KiB write, counted on both nodes."""

import os
import re
import signal
import subprocess
import tempfile

import peers
from measure import Row
from pair import NODES, Pair, wait_for

FEW, MANY = 2000, 12000  # the difference is judged: what does not come with operations cancels out
LINE = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:(\d+)\s+)?(\w+)\s*$")


def summary_parse(text):
    """strace -c: name → (calls, those of them that failed)."""
    found = (LINE.match(line) for line in text.splitlines())
    return {m[3]: (int(m[1]), int(m[2] or 0)) for m in found if m and m[3] != "total"}


class Strace:
    """Counts the system calls of a process while the body runs."""

    def __init__(self, pid):
        self.path = peers.command_find("strace", "strace")
        self.pid = pid
        self.calls = {}

    def __enter__(self):
        self.out = tempfile.NamedTemporaryFile(mode="r", suffix=".strace", delete=False)
        self.process = subprocess.Popen([self.path, "-c", "-f",
                                         "-o", self.out.name, "-p", str(self.pid)],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("strace to attach", self.attached)
        return self

    def attached(self):
        """All threads are traced."""
        if self.process.poll() is not None:
            raise peers.Failed("strace cannot attach (root, or ptrace_scope, wanted)")
        for task in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{task}/status", encoding="ascii") as f:
                if "TracerPid:\t0\n" in f.read():
                    return False
        return True

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=10)
        self.calls = summary_parse(self.out.read())
        self.out.close()
        os.unlink(self.out.name)


def per_operation(few, many):
    n = MANY - FEW
    return {name: tuple((m - f) / n for m, f in zip(many[name], few.get(name, (0, 0))))
            for name in many}


def system_calls(bench, poll_us):
    """For each node: name → (calls, failed calls) per write."""
    counted = {node: [] for node in NODES}
    for node in NODES:
        with Pair(bench, poll_us=poll_us) as pair:
            pair.run(op="write", count=1000)
            for count in (FEW, MANY):
                with Strace(pair.processes[node].pid) as strace:
                    pair.run(op="write", count=count)
                counted[node].append(strace.calls)
    return {node: per_operation(*both) for node, both in counted.items()}


def bare_calls(bench):
    """Calls of one side of the bare blocking exchange (both sides are traced, and alike)."""
    both = []
    for rounds in (FEW, MANY):
        argv = peers.socket_pair_command(bench.build, bench.cores, "block", rounds=rounds)
        with tempfile.NamedTemporaryFile(mode="r", suffix=".strace") as out:
            peers.run([peers.command_find("strace", "strace"), "-c", "-f", "-o", out.name] + argv)
            both.append(summary_parse(out.read()))
    return sum(calls for calls, _ in per_operation(*both).values()) / 2


def allocations(bench):
    """For each node: counters per write."""
    got = {}
    with Pair(bench, count_calls=True) as pair:
        pair.run(op="write", count=1000)
        marks = {node: [pair.count(node)] for node in NODES}
        for count in (FEW, MANY):
            pair.run(op="write", count=count)
            for node in NODES:
                marks[node].append(pair.count(node))
        for node, (start, middle, end) in marks.items():
            got[node] = {k: (end[k] - middle[k] - (middle[k] - start[k])) / (MANY - FEW) for k in end}
    return got


def breakdown(calls):
    parts = [f"{name} {n:.2f}" + (f" ({failed:.2f} found nothing)" if failed >= 0.005 else "")
             for name, (n, failed) in sorted(calls.items(), key=lambda item: -item[1][0]) if n >= 0.005]
    return ", ".join(parts) or "none"


def calls(bench):
    """System calls, allocations and copies for each 4 KiB write"""
    roles = dict(zip(NODES, ("writer", "target")))
    bare = bare_calls(bench)
    for mode, poll_us in (("sleep", 0), ("poll", 1000)):
        for node, got in system_calls(bench, poll_us).items():
            value = sum(n - failed for n, failed in got.values())
            yield Row(name=f"calls_{mode}_{roles[node]}", value=value, unit="calls",
                      what=f"system calls per 4 KiB write, {roles[node]}, {mode}",
                      peer="socket_pair --block" if mode == "sleep" else "",
                      peer_value=bare if mode == "sleep" else None,
                      ratio=value / bare if mode == "sleep" else None,
                      command="strace -c -f -p PID", note=breakdown(got))
    for node, got in allocations(bench).items():
        yield Row(name=f"allocations_{roles[node]}", value=got["allocations"], unit="",
                  what=f"allocations per 4 KiB write, {roles[node]}",
                  command="LD_PRELOAD=malloc_count.so")
        yield Row(name=f"copies_{roles[node]}", value=got["large_copies"], unit="",
                  what=f"user-space copies of a payload per 4 KiB write, {roles[node]}",
                  command="LD_PRELOAD=malloc_count.so",
                  note="calls of memcpy and memmove of 2 KiB and more; the kernel's own copy into and out "
                       "of the socket comes on top, once on each side")
