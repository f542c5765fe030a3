# SPDX-License-Identifier: Apache-2.0
"""Writes through NBD: ours beside the ideal mirror and beside qemu's quorum.

Load, nbdkit, and both nodes are on one machine. The owner is on the first core and its partner on the second, alike in
every row; nbdkit and fio are where the scheduler puts them. Nothing polls. Logs and disks are on
tmpfs, the peers' too. nbdkit has a thread for each request of the greatest depth, in every row: it serves no more at once
than it has threads, 16 unless told.
BENCH_NBD_SECONDS: how long each run takes.
"""

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

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(1, str(TOP / "tests/integration"))

from measure import interleaved, ratio_row
from peers import Failed, Missing, command_find, port_free

SHELF_BYTES = 64 << 20
BLOCK = 4096
NBDKIT = ("--threads=32",)
START_S = 20
SECONDS = float(os.environ.get("BENCH_NBD_SECONDS", "4"))


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
        with running("nbdkit", *NBDKIT, "-f", "-U", nbd, plugin(bench), f"socket={block}", "shelf=disk1"):
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
        storage = Storage(world, shelves={"disk1": ("g1", SHELF_BYTES)}, timers="default", log_bytes=64 << 20,
                          disks="memory", nbdkit=NBDKIT)
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
            f"--bs={BLOCK}", f"--size={SHELF_BYTES}", f"--iodepth={depth}", f"--runtime={SECONDS:g}", "--ramp_time=1",
            "--time_based", "--norandommap", "--randrepeat=0", "--output-format=json"]


def fio_iops(socket, depth, rw="randwrite"):
    argv = fio_argv(socket, depth, rw)
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=SECONDS + 60,
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


QUORUM_NOTE = "quorum, threshold 2, of a file and of an NBD export over TCP, both on tmpfs; no other settings"


def writes(bench, depth, quorum_limit):
    got, ideals, quorums = interleaved(bench.rounds, *(lambda server=server: once(server, bench, depth)
                                                       for server in (ours, ideal, quorum)))
    what, command = f"4 KiB random writes, NBD, depth {depth}", " ".join(fio_argv("SOCKET", depth))
    yield ratio_row(got, ideals, 0.8, False, name=f"nbd_write_d{depth}", what=what, unit="/s", peer="ideal mirror",
                    command=command)
    yield ratio_row(got, quorums, quorum_limit, False, name=f"nbd_write_d{depth}_quorum", what=what, unit="/s",
                    peer="qemu quorum", command=command, note=QUORUM_NOTE)


def nbd_write_d1(bench):
    """4 KiB random writes through NBD at depth 1, against the ideal mirror and qemu's quorum"""
    yield from writes(bench, 1, 1)


def nbd_write_d32(bench):
    """4 KiB random writes through NBD at depth 32, against the ideal mirror and qemu's quorum"""
    yield from writes(bench, 32, 3)
