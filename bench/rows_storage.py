# SPDX-License-Identifier: Apache-2.0
"""A pair of storage servers: reads, takeover, catching up, and whether a busy machine makes it take over for nothing.

The pair of tests/integration/storage.py: nodes, users and nbdkit on one machine, logs on tmpfs.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time

from measure import Row, limit_row, ratio_row
from peers import Failed
from rows_nbd import fio_argv, fio_iops, pin, plugin

BUSY_S = float(os.environ.get("BENCH_BUSY_S", "30"))
MIB = 1 << 20


@contextlib.contextmanager
def pair(bench, **options):
    """A pair that is protected."""
    plugin(bench)
    os.environ["BUILD"] = str(bench.build)
    import lib  # pylint: disable=import-outside-toplevel
    from storage import Storage  # pylint: disable=import-outside-toplevel
    world = lib.World("bench")
    try:
        options.setdefault("timers", "default")
        storage = Storage(world, log_bytes=64 << 20, **options).start().wait_protected()
        for node, core in zip(storage.nodes.values(), bench.cores):
            pin(node.process.pid, core)
        yield storage
    except (lib.Failure, lib.CommandError, lib.Skip) as why:
        raise Failed(str(why)) from why
    finally:
        world.close()


def nbd_read_d32(bench):
    """4 KiB random reads through NBD at depth 32: with two members, and alone"""
    both, alone = [], []
    for _ in range(bench.rounds):
        with pair(bench, shelves={"disk1": ("g1", 64 * MIB)}, disks="memory") as storage:
            socket = storage.export("alpha", "disk1")
            fill(socket, 64 * MIB)
            both.append(fio_iops(socket, 32, "randread"))
            storage.beta.kill()
            storage.wait_state("alpha", "alone")
            alone.append(fio_iops(socket, 32, "randread"))
    yield ratio_row(both, alone, 0.8, False, name="nbd_read_d32", what="4 KiB random reads, NBD, depth 32", unit="/s",
                    peer="ours, alone", command=" ".join(fio_argv("SOCKET", 32, "randread")))


def fill(socket, size):
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as data:
        data.write(os.urandom(MIB) * (size // MIB))
        data.flush()
        subprocess.run(["nbdcopy", "--flush", data.name, f"nbd+unix:///?socket={socket}"], check=True, timeout=120)


def takeover_once(bench, timers):
    from nbd_load import Gone, Nbd, READ  # pylint: disable=import-outside-toplevel
    with pair(bench, timers=timers) as storage:
        there = storage.export("beta", "disk1")
        storage.alpha.kill()
        killed = time.monotonic()
        while time.monotonic() < killed + 20:
            try:
                user = Nbd(there)
                user.ask(READ, 0, 4096)
                user.close()
                return (time.monotonic() - killed) * 1000
            except Gone:
                time.sleep(0.002)
    raise Failed("the partner answered no read within 20 s")


def takeover(bench):
    """From SIGKILL of the owner to the first read that its partner has answered"""
    for timers, limit in (("default", 1000), ("fast", 300)):
        yield limit_row([takeover_once(bench, timers) for _ in range(bench.rounds)], limit, name=f"takeover_{timers}",
                        what=f"owner killed until the partner has answered a read, {timers} timers", unit="ms",
                        command="kill -KILL OWNER; a read of 4 KiB at the partner's nbdkit, again and again")


def catchup(bench):
    """How fast a node that was away is brought up to date, on a real disk, against a plain copy there"""
    size = 256 * MIB
    ours, plain = [], []
    for _ in range(min(bench.rounds, 3)):
        with pair(bench, shelves={"disk1": ("g1", size)}) as storage:
            storage.beta.kill()
            storage.wait_state("alpha", "alone")
            fill(storage.export("alpha", "disk1"), size)
            began = time.monotonic()
            storage.beta.start()
            storage.wait_protected(120)
            ours.append(size / (time.monotonic() - began) / 1e6)
            out = storage.world.dir / "copy"
            began = time.monotonic()
            subprocess.run(["dd", f"if={storage.disks}/alpha/disk1.img", f"of={out}", "bs=1M", "conv=fdatasync"], check=True,
                           stderr=subprocess.DEVNULL)
            plain.append(size / (time.monotonic() - began) / 1e6)
    yield ratio_row(ours, plain, 0.8, False, name="catchup", what="catching up 256 MiB, from the start of the daemon",
                    unit="MB/s", peer="dd conv=fdatasync", command="dd if=alpha/disk1.img of=copy bs=1M conv=fdatasync",
                    note="without foreground writes; the time of the start and of the two sessions is in it")


@contextlib.contextmanager
def busy(count):
    """Every core has `count` programs that do nothing but run."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count * os.cpu_count())]
    try:
        yield
    finally:
        for one in spinning:
            one.kill()
            one.wait()


@contextlib.contextmanager
def witness(bench, limit_ms, seen):
    """Adds to `seen` what the machine itself did meanwhile, in words."""
    argv = [str(bench.build / "bench/stall_witness"), str(limit_ms)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield
        finally:
            running.terminate()
            realtime, longest_ms, count = running.communicate(timeout=10)[0].split()
            seen.append(f"a {'real-time' if realtime == 'yes' else 'plain'} thread on each core, that only sleeps, stood still "
                        f"for up to {longest_ms} ms, {count} times for {limit_ms} ms and more")


# What a monitor bears before it calls the partner lost: gone_ms of the profile.
GONE_MS = {"default": 200, "fast": 60}


def false_takeover(bench):
    """Losses of the partner that the monitors saw while both cores were fully loaded"""
    for timers, gone_ms in GONE_MS.items():
        with pair(bench, timers=timers, shelves={"disk1": ("g1", 64 * MIB)}) as storage:
            socket = storage.export("alpha", "disk1")
            began = time.monotonic()
            stalls = []
            with witness(bench, gone_ms, stalls), busy(1):
                subprocess.run([word if not word.startswith("--runtime") else f"--runtime={BUSY_S:g}"
                                for word in fio_argv(socket, 8)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               timeout=BUSY_S + 60, check=False)
            losses = 0
            for node in storage.nodes.values():
                state = json.loads(node.cli("client", "failover", "status", "--json"))
                losses += state["partner"]["losses"]
            yield Row(name=f"false_takeover_{timers}", what=f"false losses, {time.monotonic() - began:.0f} s of full load, "
                      f"{timers} timers", value=losses, unit="", target="0", met=losses == 0, note=stalls[0],
                      command="one spinning program for each core, and fio at depth 8")
