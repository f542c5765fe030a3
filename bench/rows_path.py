# SPDX-License-Identifier: Apache-2.0
"""Where the time of one write goes: 4 KiB through NBD at depth 1, from system call to system call (perf trace points), in the
four processes that it passes: the load, nbdkit, the owner, its partner. Each step ends where the next process wakes or
calls on; the tracing itself takes about half a microsecond for each call, in ours and the peer's alike.
"""
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import tempfile
import time

from measure import Row
from peers import Failed, Missing, command_find
from rows_nbd import BLOCK, fio_argv, ideal, ours

TRACE_S = 1.0
READ, POLL, SENDTO, RECVFROM, SENDMSG, RECVMSG, FUTEX = 0, 7, 44, 45, 46, 47, 202  # x86-64
EVENT = re.compile(r"\s*(\d+)/(\d+)\s+(\d+)\.(\d+):\s+raw_syscalls:sys_(enter|exit): NR (-?\d+) (.*)")

# (what, who, begin of a call or its end, which calls, value that it must have: bytes given or got; None: any)
STEPS = (
    ("the load asks", "load", "enter", (SENDTO, SENDMSG), None),
    ("NBD's socket, nbdkit wakes and reads", "nbdkit", "exit", (READ, RECVFROM, RECVMSG), BLOCK),
    ("nbdkit: into the ring", "nbdkit", "enter", (SENDTO,), 1),
    ("the owner wakes", "owner", "exit", None, None),
    ("owner: takes it in, log, checksum", "owner", "enter", (SENDMSG, SENDTO), None),
    ("the socket between the nodes, the partner wakes", "partner", "exit", None, None),
    ("partner: reads it into its log's memory", "partner", "enter", (SENDTO, SENDMSG), None),
    ("the socket back, the owner wakes", "owner", "exit", None, None),
    ("owner: acknowledges", "owner", "enter", (FUTEX,), None),
    ("nbdkit wakes", "nbdkit", "exit", (FUTEX,), None),
    ("nbdkit: answers", "nbdkit", "enter", (SENDTO, SENDMSG), None),
    ("NBD's socket, the load wakes and reads", "load", "exit", (RECVFROM, RECVMSG, READ), None),
)


def descendants(pid):
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [int(child) for child in children] + [one for child in children for one in descendants(child)]


def roles_of(bench):
    """{thread: role} of all that a write passes. The nodes' threads are told by the core that they are bound to."""
    roles = {}
    for pid in descendants(os.getpid()):
        name = pathlib.Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()
        for task in map(int, os.listdir(f"/proc/{pid}/task")):
            cores = os.sched_getaffinity(task)
            if name in ("fio", "nbdkit"):
                roles[task] = "load" if name == "fio" else name
            elif name in ("carrickd", "ideal_mirror") and len(cores) == 1:
                roles[task] = "owner" if cores == {bench.cores[0]} else "partner"
    missing = {"load", "nbdkit", "owner", "partner"} - set(roles.values())
    if missing:
        raise Failed(f"no thread found of: {' '.join(sorted(missing))}")
    return roles


def trace(bench, socket, directory):
    """[(ns, role, "enter" or "exit", number of the call, arguments or result)], in order."""
    perf = command_find("perf", "linux-perf")
    load = subprocess.Popen([word if not word.startswith("--runtime") else "--runtime=3" for word in fio_argv(socket, 1)],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tempfile.gettempdir())
    try:
        time.sleep(1.5)  # it ramps up for a second
        roles = roles_of(bench)
        data = directory / "trace"
        done = subprocess.run([perf, "record", "-q", "-e", "raw_syscalls:sys_enter,raw_syscalls:sys_exit", "-t",
                               ",".join(map(str, roles)), "-o", str(data), "--", "sleep", f"{TRACE_S:g}"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise Missing(f"perf cannot trace system calls here: {done.stdout.strip()[-200:]}")
        text = subprocess.run([perf, "script", "-i", str(data), "-F", "pid,tid,time,event,trace", "--ns"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
    finally:
        load.wait(60)
    events = []
    for found in filter(None, map(EVENT.match, text.splitlines())):
        task, seconds, fraction, edge, number, rest = found.group(2, 3, 4, 5, 6, 7)
        events.append((int(seconds) * 10**9 + int(fraction.ljust(9, "0")), roles.get(int(task)), edge, int(number), rest))
    return sorted(events)


def value_of(edge, rest):
    """Of an exit its result, of an enter the bytes that it gives."""
    return int(rest.split()[-1]) if edge == "exit" else int(rest.strip("()").split(", ")[2], 16)


def is_step(event, step):
    _, who, edge, calls, value = step
    return (event[1] == who and event[2] == edge and (calls is None or event[3] in calls)
            and (edge == "enter" or value_of(edge, event[4]) >= 0) and (value is None or value_of(edge, event[4]) == value))


def writes(events):
    """The moments of each write that went by all steps, and of what came after: [[ns, ...]]."""
    found, at = [], []
    for event in events:
        if at and len(at) < len(STEPS) and is_step(event, STEPS[len(at)]):
            at.append(event[0])
        elif is_step(event, STEPS[0]) and (not at or len(at) == len(STEPS)):
            if at:
                found.append(at + [event[0]])
            at = [event[0]]
    return found


def path(bench, server):
    """Median of each step in us, of the load's own time until it asks again, and of the whole."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="carrick-bench-"))
    try:
        with server(bench, directory) as socket:
            seen = writes(trace(bench, socket, directory))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if len(seen) < 100:
        raise Failed(f"only {len(seen)} writes could be followed")
    steps = [statistics.median(one[i + 1] - one[i] for one in seen) / 1000 for i in range(len(STEPS))]
    return steps + [statistics.median(one[-1] - one[0] for one in seen) / 1000], len(seen)


def nbd_path_d1(bench):
    """Where the microseconds of one write at depth 1 go, step by step, beside the ideal mirror"""
    (mine, count), (theirs, _) = path(bench, ours), path(bench, ideal)
    names = [step[0] for step in STEPS[1:]] + ["the load, until it asks again", "one write, all of it"]
    for number, (what, value, peer) in enumerate(zip(names, mine, theirs), 1):
        yield Row(name=f"nbd_path_d1_{number}", what=what, value=value, unit="us", peer="ideal mirror", peer_value=peer,
                  ratio=value / peer if peer else None, note=f"medians of {count} writes, traced" if number == 1 else "",
                  command="perf record -e raw_syscalls:sys_enter,raw_syscalls:sys_exit")
