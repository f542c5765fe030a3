#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rows of the bench for writes through NBD: ours beside the ideal mirror and beside qemu's quorum.

    BUILD=build bench/nbd.py [--rounds N] [--only ROW[,ROW]]; BENCH_NBD_SECONDS: how long each run takes

Load, nbdkit, and both nodes are on one machine. The owner is on the first core and its partner on the second, alike in
every row; nbdkit and fio are where the scheduler puts them. Nothing polls. Logs are on tmpfs. ROWS can be taken into
another table: each takes a Bench and gives rows.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path[1:1] = [str(TOP / "bench"), str(TOP / "tests/integration")]

from measure import Bench, Row, interleaved, median, ratio_row, spread_text
from peers import Failed, Missing, command_find, port_free

SHELF_BYTES = 64 << 20
BLOCK = 4096
START_S = 20
seconds = float(os.environ.get("BENCH_NBD_SECONDS", "4"))


def wait_for(condition, what):
    until = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > until:
            raise Failed(f"waited {START_S} s for: {what}")
        time.sleep(0.01)


def pin(pid, core):
    """All threads that the process has now, and so those that they start."""
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), {core})


@contextlib.contextmanager
def running(*argv, **options):
    process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def plugin(bench):
    path = pathlib.Path(bench.build) / "nbdkit/nbdkit-carrick-plugin.so"
    command_find("nbdkit", "nbdkit")
    if not path.exists():
        raise Missing("nbdkit's plugin was left out of this build (package nbdkit-plugin-dev)")
    return path


@contextlib.contextmanager
def ideal(bench, directory):
    """The ideal mirror: gives the NBD socket."""
    program = pathlib.Path(bench.build) / "bench/ideal-mirror/ideal_mirror"
    if not program.exists():
        raise Missing(f"{program} is not built (make bench builds it)")
    block, nbd = directory / "ideal.block", directory / "ideal.nbd"
    with running(program, block, SHELF_BYTES, f"{bench.cores[0]},{bench.cores[1]}"):
        wait_for(block.exists, "the ideal mirror")
        with running("nbdkit", "-f", "-U", nbd, plugin(bench), f"socket={block}", "shelf=disk1"):
            wait_for(nbd.exists, "nbdkit")
            yield nbd


@contextlib.contextmanager
def ours(bench, directory):
    """A pair that is protected: gives the NBD socket of the owner."""
    del directory
    plugin(bench)
    os.environ["BUILD"] = str(bench.build)
    import lib  # pylint: disable=import-outside-toplevel
    from storage import Storage  # pylint: disable=import-outside-toplevel
    world = lib.World("bench")
    try:
        storage = Storage(world, shelves={"disk1": ("g1", SHELF_BYTES)}, timers="default", log_bytes=256 << 20)
        storage.start().wait_protected()
        for node, core in zip(storage.nodes.values(), bench.cores):
            pin(node.process.pid, core)
        yield storage.export("alpha", "disk1")
    except (lib.Failure, lib.CommandError, lib.Skip) as why:
        raise Failed(str(why)) from why
    finally:
        world.close()


@contextlib.contextmanager
def quorum(bench, directory):
    """qemu-storage-daemon that mirrors by quorum onto a file here and an NBD server there, both on tmpfs."""
    command_find("qemu-storage-daemon", "qemu-system-common")
    port, nbd = port_free(), directory / "quorum.nbd"
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        files = [pathlib.Path(memory) / name for name in ("here", "there")]
        for path in files:
            with open(path, "wb") as f:
                f.truncate(SHELF_BYTES)
        far = ("qemu-storage-daemon", "--blockdev", f"driver=file,node-name=d,filename={files[1]}",
               "--nbd-server", f"addr.type=inet,addr.host=127.0.0.1,addr.port={port}",
               "--export", "type=nbd,id=e,node-name=d,writable=on,name=d")
        near = ("qemu-storage-daemon", "--blockdev", f"driver=file,node-name=a,filename={files[0]}",
                "--blockdev", f"driver=nbd,node-name=b,server.type=inet,server.host=127.0.0.1,server.port={port},export=d",
                "--blockdev", "driver=quorum,node-name=q,vote-threshold=2,children.0=a,children.1=b",
                "--nbd-server", f"addr.type=unix,addr.path={nbd}",
                "--export", "type=nbd,id=e,node-name=q,writable=on,name=")
        with running(*far) as there:
            wait_for(lambda: listens(port), "the far qemu-storage-daemon")
            with running(*near) as here:
                wait_for(nbd.exists, "the near qemu-storage-daemon")
                pin(here.pid, bench.cores[0])
                pin(there.pid, bench.cores[1])
                yield nbd


def listens(port):
    with open("/proc/net/tcp", encoding="ascii") as f:
        return any(f":{port:04X} " in line and " 0A " in line for line in f)


def fio_argv(socket, depth, rw="randwrite"):
    return [command_find("fio", "fio"), "--name=v", "--ioengine=nbd", f"--uri=nbd+unix:///?socket={socket}", f"--rw={rw}",
            f"--bs={BLOCK}", f"--size={SHELF_BYTES}", f"--iodepth={depth}", f"--runtime={seconds:g}", "--ramp_time=1",
            "--time_based", "--norandommap", "--randrepeat=0", "--output-format=json"]


def fio_iops(socket, depth, rw="randwrite"):
    argv = fio_argv(socket, depth, rw)
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=seconds + 60,
                          cwd=tempfile.gettempdir(), check=False)
    if done.returncode != 0:
        raise Failed(f"fio: exit {done.returncode}: {(done.stderr + done.stdout).strip()[-300:]}")
    job = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]
    return job["read" if "read" in rw else "write"]["iops"]


def once(server, bench, depth):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="carrick-bench-"))
    try:
        with server(bench, directory) as socket:
            return fio_iops(socket, depth)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def beside(bench, depth, peer, peer_name, limit, note=""):
    name = f"nbd_write_d{depth}_{peer.__name__}"
    got, theirs = interleaved(bench.rounds, lambda: once(ours, bench, depth), lambda: once(peer, bench, depth))
    return ratio_row(got, theirs, limit, False, name=name, what=f"4 KiB random writes, NBD, depth {depth}", unit="/s",
                     peer=peer_name, command=" ".join(fio_argv("SOCKET", depth)), note=note)


QUORUM_NOTE = "quorum, threshold 2, of a file and of an NBD export over TCP, both on tmpfs; no other settings"


def write_d1(bench):
    """4 KiB random writes through NBD at depth 1, against the ideal mirror"""
    yield beside(bench, 1, ideal, "ideal mirror", 0.8)


def write_d32(bench):
    """4 KiB random writes through NBD at depth 32, against the ideal mirror"""
    yield beside(bench, 32, ideal, "ideal mirror", 0.8)


def write_d1_quorum(bench):
    """4 KiB random writes through NBD at depth 1, against qemu's quorum"""
    yield beside(bench, 1, quorum, "qemu quorum", 1, QUORUM_NOTE)


def write_d32_quorum(bench):
    """4 KiB random writes through NBD at depth 32, against qemu's quorum"""
    yield beside(bench, 32, quorum, "qemu quorum", 3, QUORUM_NOTE)


def ideal_alone(bench):
    """The ideal mirror by itself at depths 1 and 32: what the yardstick gives on this machine"""
    for depth in (1, 32):
        got = [once(ideal, bench, depth) for _ in range(bench.rounds)]
        yield Row(name=f"nbd_ideal_d{depth}", what=f"ideal mirror, depth {depth}", value=median(got), unit="/s",
                  spread=spread_text(got), command=" ".join(fio_argv("SOCKET", depth)))


ROWS = {
    "nbd_ideal": ideal_alone,
    "nbd_write_d1": write_d1,
    "nbd_write_d32": write_d32,
    "nbd_write_d1_quorum": write_d1_quorum,
    "nbd_write_d32_quorum": write_d32_quorum,
}


def main():
    import run as table  # pylint: disable=import-outside-toplevel
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(ROWS), help="by comma: " + ", ".join(ROWS))
    parser.add_argument("--cores", metavar="A,B")
    options = parser.parse_args()
    names = options.only.split(",")
    if set(names) - set(ROWS):
        parser.error(f"no row {', '.join(set(names) - set(ROWS))}")
    bench = Bench(os.path.abspath(os.environ.get("BUILD", "build")), table.cores_choose(options.cores), options.rounds)
    print(f"load average at the start: {os.getloadavg()[0]:.2f}")
    results, failures = [], 0
    for name in names:
        got, failed = table.row_run(bench, name, ROWS[name])
        results += got
        failures += failed
    table.table_print(results)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
