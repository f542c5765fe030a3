# SPDX-License-Identifier: Apache-2.0
"""A pair of storage servers: reads, takeover, catching up, and whether a busy machine makes it take over for nothing.

The pair of tests/integration/storage.py: nodes, users and nbdkit on one machine, logs on tmpfs.
"""

import contextlib
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time

from measure import Row, limit_row, median, ratio_row, spread_text
from peers import Failed, command_find
from rows_nbd import NBDKIT, fio_argv, fio_iops, pin, plugin

BUSY_S = float(os.environ.get("BENCH_BUSY_S", "30"))
MIB = 1 << 20


@contextlib.contextmanager
def pair(bench, shelf_config=None, **options):
    """A pair that is protected. shelf_config: more of the shelves' section."""
    plugin(bench)
    os.environ["BUILD"] = str(bench.build)
    import lib  # pylint: disable=import-outside-toplevel
    from storage import Storage  # pylint: disable=import-outside-toplevel
    world = lib.World("bench")
    try:
        options.setdefault("timers", "default")
        options.setdefault("log_bytes", 64 * MIB)
        options.setdefault("nbdkit", NBDKIT)
        storage = Storage(world, **options)
        for node in storage.nodes.values():
            shelf = next(one for one in node.config["managers"][0]["clients"] if one["name"] == "shelf")
            shelf["config"].update(shelf_config or {})
            node.write_config()
        storage.start().wait_protected()
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


def first_read_ms(storage, node):
    """From now until the node has answered a read."""
    from nbd_load import Gone, Nbd, READ  # pylint: disable=import-outside-toplevel
    began = time.monotonic()
    while time.monotonic() < began + 20:
        try:
            user = Nbd(storage.export(node, "disk1"))
            user.ask(READ, 0, 4096)
            user.close()
            return (time.monotonic() - began) * 1000
        except Gone:
            time.sleep(0.002)
    raise Failed(f"{node} answered no read within 20 s")


def takeover_once(bench, timers):
    with pair(bench, timers=timers) as storage:
        storage.alpha.kill()
        return first_read_ms(storage, "beta")


def takeover(bench):
    """From SIGKILL of the owner to the first read that its partner has answered"""
    for timers, limit in (("default", 1000), ("fast", 300)):
        yield limit_row([takeover_once(bench, timers) for _ in range(bench.rounds)], limit, name=f"takeover_{timers}",
                        what=f"owner killed until the partner has answered a read, {timers} timers", unit="ms",
                        command="kill -KILL OWNER; a read of 4 KiB at the partner's nbdkit, again and again")


REPLAY_BYTES = 248 * MIB


def log_fill(storage, size):
    """Writes of 4 KiB that stay in the log: nothing asks for a flush, and the shelves rest."""
    argv = [command_find("fio", "fio"), "--name=v", "--ioengine=nbd", f"--uri=nbd+unix:///?socket={storage.export('alpha', 'disk1')}",
            "--rw=write", "--bs=4096", f"--size={size}", "--iodepth=32"]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120, cwd=tempfile.gettempdir())
    held = storage.logs("alpha")[0]
    if held["last"] - held["first"] + 1 < size // 4096:
        raise Failed(f"the log does not hold what was written: {held}")


def said_at(node, words):
    """When the node logged that, last: seconds since the epoch."""
    line = [line for line in node.log().splitlines() if words in line][-1]
    return datetime.datetime.fromisoformat(line.split()[0].replace("Z", "+00:00")).timestamp()


def replay_once(bench):
    """Milliseconds from the generation's win until the node serves, and until it has answered a read; and of a plain pass."""
    rest = {"destage_delay_ms": 60000}
    with pair(bench, shelf_config=rest, shelves={"disk1": ("g1", 256 * MIB)}, disks="memory", log_bytes=1024 * MIB) as storage:
        log_fill(storage, REPLAY_BYTES)
        storage.alpha.kill()
        first_read_ms(storage, "beta")
        answered = time.time()
        won = said_at(storage.beta, "group g1: step serve after claim")
        serves = said_at(storage.beta, "group g1: step alone after serve")
        began = time.monotonic()
        subprocess.run(["dd", f"if={storage.memory}/beta-g1.log", "of=/dev/null", "bs=1M", f"count={REPLAY_BYTES // MIB}"], check=True,
                       stderr=subprocess.DEVNULL)
        return (serves - won) * 1000, (answered - won) * 1000, (time.monotonic() - began) * 1000


def replay(bench):
    """How fast a takeover replays a log that is full of records of 4 KiB, and when it answers the first read"""
    rounds = [replay_once(bench) for _ in range(bench.rounds)]
    took, first, plain = zip(*rounds)
    rates, read = [[REPLAY_BYTES / 1e6 / t for t in column] for column in (took, plain)]
    what = f"of a log with {REPLAY_BYTES // MIB} MiB in records of 4 KiB"
    yield Row(name="replay", what=f"replay {what}, in memory", value=median(rates), unit="GB/s", target=">= 1 GB/s",
              met=median(rates) >= 1, peer="dd of the log to /dev/null", peer_value=median(read), ratio=median(rates) / median(read),
              spread=spread_text(rates, 2), command="kill -KILL OWNER; the partner's log of events: step serve until step alone")
    yield Row(name="replay_first_read", what=f"from the win at the arbiter to the first read answered, {what}", value=median(first),
              unit="ms", spread=spread_text(first), command="the same, until a read of 4 KiB was answered through nbdkit")


def plain_copy(storage, size):
    out = storage.world.dir / "copy"
    os.sync()
    began = time.monotonic()
    subprocess.run(["dd", f"if={storage.disks}/alpha/disk1.img", f"of={out}", "bs=1M", "conv=fdatasync"], check=True,
                   stderr=subprocess.DEVNULL)
    took = time.monotonic() - began
    out.unlink()
    return size / took / 1e6


def copied(storage):
    """What alpha says of the last copying: bytes, MB/s."""
    managers = json.loads(storage.alpha.cli("status", "--json"))["managers"]
    detail = next(client["detail"] for client in managers[0]["clients"] if client["name"] == "shelf")
    told = detail["groups"][0]["catchup"]
    return told["done_bytes"], told["bytes_per_second"] / 1e6


def catchup(bench):
    """How fast a node that was away is brought up to date, on a real disk, against plain copies there before and after"""
    size = 512 * MIB
    ours, plain, whole = [], [], []
    for _ in range(min(bench.rounds, 3)):
        with pair(bench, shelves={"disk1": ("g1", size)}) as storage:
            storage.beta.kill()
            storage.wait_state("alpha", "alone")
            fill(storage.export("alpha", "disk1"), size)
            before = plain_copy(storage, size)
            os.sync()
            began = time.monotonic()
            storage.beta.start()
            storage.wait_protected(240)
            whole.append(time.monotonic() - began)
            done, rate = copied(storage)
            if done < size:
                raise Failed(f"{done} bytes were copied, not {size}")
            ours.append(rate)
            plain.append((before + plain_copy(storage, size)) / 2)
    yield ratio_row(ours, plain, 0.8, False, name="catchup", what="catching up 512 MiB", unit="MB/s",
                    peer="dd conv=fdatasync", command="dd if=alpha/disk1.img of=copy bs=1M conv=fdatasync",
                    note=f"without foreground writes; {median(whole):.2f} s from the start of the daemon until protected")


def taken(storage):
    """Requests that alpha's front has taken in so far."""
    clients = json.loads(storage.alpha.cli_code("status", "--json")[1])["managers"][0]["clients"]
    front = next(client["detail"] for client in clients if client["name"] == "shelf")["front"]
    return sum(one["requests"] for one in front["connections"])


def rate_while(storage, goes_on, least_s):
    """Requests a second for as long as that holds, and at least so long."""
    before, began = taken(storage), time.monotonic()
    while goes_on() or time.monotonic() < began + least_s:
        time.sleep(0.05)
        if time.monotonic() > began + 240:
            raise Failed("it did not end within 240 s")
    return (taken(storage) - before) / (time.monotonic() - began)


def catchup_busy(bench):
    """Catching up beside a load that writes all the time: what each of them loses"""
    import lib  # pylint: disable=import-outside-toplevel
    size, depth = 1024 * MIB, 8
    copying, calm, rates, plain = [], [], [], []
    for _ in range(min(bench.rounds, 3)):
        with pair(bench, shelves={"disk1": ("g1", size), "disk2": ("g1", 64 * MIB)}) as storage:
            storage.beta.kill()
            storage.wait_state("alpha", "alone")
            fill(storage.export("alpha", "disk1"), size)
            plain.append(plain_copy(storage, size))
            argv = [word for word in fio_argv(storage.export("alpha", "disk2"), depth) if not word.startswith("--runtime")]
            with subprocess.Popen(argv + ["--runtime=300"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  cwd=tempfile.gettempdir()) as load:
                try:
                    lib.wait_for(lambda: taken(storage) > 1000, "the load to run")
                    storage.beta.start()
                    storage.wait_state("alpha", "resyncing", timeout_s=30)
                    copying.append(rate_while(storage, lambda: storage.state("alpha") != "protected", 0))
                    rates.append(copied(storage)[1])
                    calm.append(rate_while(storage, lambda: False, 3))
                finally:
                    load.terminate()
    yield ratio_row(copying, calm, 2 / 3, False, name="catchup_busy_writes", unit="/s", peer="ours, when it was equal again",
                    what=f"4 KiB random writes, NBD, depth {depth}, while the partner catches up {size // MIB} MiB",
                    command=" ".join(fio_argv("SOCKET", depth)))
    yield ratio_row(rates, plain, 0.8, False, name="catchup_busy", what="catching up beside these writes", unit="MB/s",
                    peer="dd conv=fdatasync, nothing else", command="dd if=alpha/disk1.img of=copy bs=1M conv=fdatasync")


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
    argv = [os.path.join(bench.build, "bench/stall_witness"), str(limit_ms)]
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
