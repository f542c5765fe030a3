#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Disks that are full, that fail, write half or rot, under real daemons: it is told with its cause, nothing is acknowledged
that is not safe, reads stay right, the partner can take over, and what was waiting goes on when the disk works again."""
import atexit
import errno
import os
import pathlib
import select
import shutil
import tempfile

from lib import TOP, CommandError, Skip, check, main, needs_root, run, test, wait_for
from nbd_load import BLOCK, FLUSH, READ, WRITE, Load, Nbd, block_of
from storage import MIB, Storage

BLOCKS = 256
_shim = None


class Faults:
    """What the disks of both nodes do; before the daemons are started."""

    def __init__(self, world):
        global _shim
        if _shim is None:
            directory = pathlib.Path(tempfile.mkdtemp(prefix="carrick-faults-"))
            atexit.register(shutil.rmtree, directory, True)
            _shim = directory / "disk_faults.so"
            run(os.environ.get("CC", "cc"), "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", "-fvisibility=hidden",
                TOP / "tests/integration/disk_faults.c", "-ldl", "-o", _shim)
        self.path = world.dir / "faults"
        plain = world.environment()
        # The sanitizers want to be the first library; behind this one they work as well.
        options = ":".join(filter(None, (plain.get("ASAN_OPTIONS"), "verify_asan_link_order=0")))
        world.environment = lambda: dict(plain, LD_PRELOAD=str(_shim), DISK_FAULTS=str(self.path), ASAN_OPTIONS=options)

    def set(self, *faults):
        """Each (operation, errno, piece of a path). Takes the place of those before."""
        new = self.path.with_suffix(".new")
        new.write_text("".join(f"{operation} {cause} {path}\n" for operation, cause, path in faults))
        new.rename(self.path)

    def mend(self):
        self.set()


def image(node):
    return f"/{node}/disk1.img$"


class Disk:
    """A pair, and what was written and answered."""

    def __init__(self, world, **options):
        self.storage = Storage(world, **options).calm().start().wait_protected()
        self.load = Load(self.storage.exports("disk1"), blocks=BLOCKS)

    def dial(self, node):
        return Nbd(self.storage.export(node, "disk1"), timeout_s=60)  # for hangs; a user has patience

    def write(self, node, blocks=range(BLOCKS)):
        """A new number in each of the blocks; returns when all are answered."""
        connection = self.dial(node)
        for block in blocks:
            self.load.asked[block] += 1
            connection.ask(WRITE, block * BLOCK, data=block_of(self.load.seed, block, self.load.asked[block]))
            self.load.answered[block] = self.load.asked[block]
        connection.close()

    def begin_write(self, node, block):
        """A write that is asked for; its answer is what the test is about."""
        connection = self.dial(node)
        self.load.asked[block] += 1
        connection.submit(WRITE, block * BLOCK, data=block_of(self.load.seed, block, self.load.asked[block]))
        return connection

    def end_write(self, connection, block):
        _, error, _ = connection.receive()
        check(error == 0, f"the write that waited ended with {os.strerror(error)}")
        self.load.answered[block] = self.load.asked[block]
        connection.close()

    def verify(self):
        wrong = self.load.verify()
        check(not wrong, f"{len(wrong)} wrong: {wrong[:5]}")

    def wait_told(self, node, what, cause):
        """By `carrick status`, with exit status 1, and where nothing is worse in its first line; and in the client's details."""
        told = f"the disk of {what} fails: {os.strerror(cause)}"

        def probe():
            code, text = self.storage.nodes[node].cli_code("status")
            first = text.splitlines()[0]
            return code == 1 and told in text and (told in first or first.startswith("DOWN") or "group g1 is" in first)

        wait_for(probe, f"status of {node} to say: {told}")
        wait_for(lambda: os.strerror(cause) in self.storage.nodes[node].cli("clients"), f"clients of {node} to tell the cause")

    def wait_well(self, node):
        wait_for(lambda: self.storage.nodes[node].cli_code("status")[0] == 0, f"status of {node} to be OK")

    def shelf(self, node):
        managers = self.storage.nodes[node].status()["managers"]
        clients = {client["name"]: client for client in managers[0]["clients"]}
        return clients["shelf"]["detail"]["groups"][0]["shelves"][0]

    def wait_errors(self, node, more):
        """The disk was tried again so many times, and failed."""
        least = self.shelf(node).get("errors", 0) + more
        wait_for(lambda: self.shelf(node).get("errors", 0) >= least, f"{node} to try its disk again")

    def check_told_once(self, node, *words):
        def found():
            return [line for line in self.storage.nodes[node].log().splitlines() if all(word in line for word in words)]

        lines = wait_for(found, f"a line of {node}'s log with {words}")
        check(len(lines) == 1, f"{len(lines)} lines of {node}'s log say {words}, not one")

    def take_over(self, dead, survivor):
        self.storage.nodes[dead].kill()
        self.storage.wait_state(survivor, "alone")
        self.verify()
        self.write(survivor, range(0, BLOCKS, 3))

    def bring_back(self, node):
        self.storage.nodes[node].start()
        self.finish()

    def finish(self):
        self.storage.wait_protected(30)
        self.verify()
        self.storage.check_copies()


def is_answered(connection):
    return bool(select.select([connection.socket], [], [], 0)[0])


# ---- the shelf's file


def small_disk(world, node, size):
    """A file system of its own for the files of a node, so small that it will be full."""
    place = world.dir / node
    place.mkdir(exist_ok=True)
    try:
        run("mount", "-t", "tmpfs", "-o", f"size={size}", "carrick-test", place)
    except CommandError as error:
        raise Skip(f"needs to mount a tmpfs: {error.output.strip()}") from None
    world.cleanups.append(lambda: run("umount", "-l", place))
    return lambda more: run("mount", "-o", f"remount,size={more}", place)


@test
@needs_root
def shelf_full(world):
    grow = small_disk(world, "alpha", "512k")
    disk = Disk(world)
    disk.write("alpha")  # 1 MiB: all of it is acknowledged, for the log keeps what the disk does not take
    disk.wait_told("alpha", "shelf disk1", errno.ENOSPC)
    disk.write("alpha", range(0, BLOCKS, 2))
    disk.verify()
    flusher = disk.dial("alpha")
    flusher.submit(FLUSH)
    disk.wait_errors("alpha", 2)
    check(not is_answered(flusher), "a flush was answered though the disk is full")
    disk.check_told_once("alpha", "shelf disk1", "failed: No space left on device")
    grow("64m")
    check(flusher.receive()[1] == 0, "the flush failed")
    flusher.close()
    disk.wait_well("alpha")
    disk.check_told_once("alpha", "shelf disk1", "can be written again")
    disk.finish()


@test
def shelf_fails_and_the_partner_takes_over(world):
    faults = Faults(world)
    disk = Disk(world)
    faults.set(("write", errno.EIO, image("alpha")), ("zero", errno.EIO, image("alpha")))
    disk.write("alpha")
    disk.wait_told("alpha", "shelf disk1", errno.EIO)
    disk.write("alpha", range(0, BLOCKS, 2))
    disk.verify()
    disk.wait_errors("alpha", 1)
    disk.check_told_once("alpha", "shelf disk1", "failed: Input/output error")
    disk.take_over("alpha", "beta")
    faults.mend()
    disk.bring_back("alpha")


@test
def shelf_sync_fails(world):
    faults = Faults(world)
    disk = Disk(world)
    faults.set(("sync", errno.EIO, image("alpha")))
    disk.write("alpha")
    disk.wait_told("alpha", "shelf disk1", errno.EIO)
    flusher = disk.dial("alpha")
    flusher.submit(FLUSH)
    disk.wait_errors("alpha", 2)
    check(not is_answered(flusher), "a flush was answered though no sync has succeeded")
    log = disk.storage.logs("alpha")[0]
    check(log["first"] <= log["last"] - BLOCKS + 1, f"records were given up that are on no disk: {log}")
    disk.verify()
    faults.mend()
    check(flusher.receive()[1] == 0, "the flush failed")
    flusher.close()
    disk.wait_well("alpha")
    disk.finish()


@test
def shelf_writes_short(world):
    faults = Faults(world)
    disk = Disk(world)
    faults.set(("short", 0, image("alpha")), ("short", 0, image("beta")))
    disk.write("alpha")
    wait_for(disk.storage.destaged, "the log to be destaged by short writes", 60)
    disk.verify()
    check("errors" not in disk.shelf("alpha"), "a short write counts as an error")
    faults.set(("torn", errno.ENOSPC, image("alpha")))
    disk.write("alpha")
    disk.wait_told("alpha", "shelf disk1", errno.ENOSPC)
    disk.verify()
    disk.take_over("alpha", "beta")
    faults.mend()
    disk.bring_back("alpha")


@test
def shelf_of_the_shadow_fails(world):
    """Its node takes over nevertheless: what its disk lacks is in its log."""
    faults = Faults(world)
    disk = Disk(world)
    disk.write("alpha")
    faults.set(("write", errno.ENOSPC, image("beta")))
    disk.write("alpha", range(0, BLOCKS, 2))
    disk.wait_told("beta", "shelf disk1", errno.ENOSPC)
    disk.take_over("alpha", "beta")
    disk.wait_errors("beta", 1)
    disk.verify()
    faults.mend()
    disk.bring_back("alpha")


@test
def returning_shelf_cannot_be_written(world):
    """The owner goes on, says the cause once, and tries again less and less often; when the disk works, all is well by itself."""
    faults = Faults(world)
    disk = Disk(world)
    disk.write("alpha")
    wait_for(disk.storage.destaged, "the log to be destaged", 60)
    disk.storage.beta.kill()
    disk.storage.wait_state("alpha", "alone")
    disk.write("alpha")
    faults.set(("write", errno.EIO, image("beta")))
    disk.storage.beta.start()
    failed = "bringing the partner up to date failed"
    wait_for(lambda: failed in (disk.storage.group("alpha") or {}).get("reason", ""), "alpha to say that it failed")
    told = len(disk.storage.alpha.log())
    wait_for(lambda: disk.storage.alpha.log()[told:].count("cannot be brought up to date") >= 3, "alpha to try again", 30)
    lines = [line for line in disk.storage.alpha.log().splitlines() if " notice " in line and "group g1: " in line
             and ("resyncing after alone" in line or "alone after resyncing" in line)]
    check(len(lines) <= 6, f"{len(lines)} lines of alpha's log tell of each attempt: {lines}")
    disk.verify()
    faults.mend()
    disk.finish()


@test
def shelf_cannot_be_read(world):
    """Each read is answered with an error, or right; nothing is made up."""
    faults = Faults(world)
    disk = Disk(world)
    disk.write("alpha")
    wait_for(disk.storage.destaged, "the log to be destaged", 60)
    # Not written either, so that the log keeps what is written now: readable.
    faults.set(("read", errno.EIO, image("alpha")), ("write", errno.EIO, image("alpha")))
    disk.write("alpha", [0])
    connection = disk.dial("alpha")
    data = connection.ask(READ, 0, BLOCK)
    check(data == block_of(disk.load.seed, 0, disk.load.answered[0]), "the log's block is not read right")
    for block in range(1, BLOCKS):
        connection.submit(READ, block * BLOCK, BLOCK)
        _, error, data = connection.receive()
        check(error == errno.EIO or data == block_of(disk.load.seed, block, disk.load.answered[block]),
              f"block {block}: error {error}, or not what was written")
    connection.close()
    faults.mend()
    disk.finish()


@test
def map_fails(world):
    """Who serves alone marks first what the partner lacks: without the map the disk stays behind, the log goes on."""
    faults = Faults(world)
    disk = Disk(world)
    disk.write("alpha")
    wait_for(disk.storage.destaged, "the log to be destaged", 60)
    faults.set(("write", errno.ENOSPC, "/beta/disk1.img.map$"))
    disk.take_over("alpha", "beta")
    disk.wait_told("beta", "the map of shelf disk1", errno.ENOSPC)
    flusher = disk.dial("beta")
    flusher.submit(FLUSH)  # now it would be written at once
    for _ in range(4):
        disk.verify()
    check(not is_answered(flusher), "a flush was answered though the map cannot be written")
    log = disk.storage.logs("beta")[0]
    check(log["first"] <= log["last"] - BLOCKS // 3 + 1, f"records were given up of which no map tells: {log}")
    with open(world.dir / "beta/disk1.img", "rb") as file:
        check(file.read(BLOCK) == block_of(disk.load.seed, 0, 1), "the disk was written before the map")
    disk.check_told_once("beta", "its map", "No space left on device")
    faults.mend()
    check(flusher.receive()[1] == 0, "the flush failed")
    flusher.close()
    wait_for(lambda: "map_error" not in disk.shelf("beta"), "the map to be written")
    disk.bring_back("alpha")


@test
def file_that_was_cut_short(world):
    """Made longer with zeroes it would pass for a whole one. One that is empty is filled anew, as one that is gone."""
    disk = Disk(world)
    disk.write("alpha")
    wait_for(disk.storage.destaged, "the log to be destaged", 60)
    path, beta = world.dir / "beta/disk1.img", disk.storage.beta
    whole = path.stat().st_size
    beta.stop()
    for length in (BLOCK, whole - BLOCK):
        os.truncate(path, length)
        beta.start(follow=False, wait=False)
        check(beta.wait_exit() > 0, "it started")
        told = f"{path} has {length} of {whole} bytes: restore it, or remove it"
        check(told in beta.log() and "on both nodes" in beta.log(), beta.log())
        check(path.stat().st_size == length, "the file was made longer")
    disk.storage.wait_state("alpha", "alone")
    os.truncate(path, 0)
    beta.start()
    disk.storage.wait_protected(30)
    disk.take_over("alpha", "beta")
    disk.bring_back("alpha")


# ---- the log's file


def log_of(node):
    return f"/{node}-g1.log"


def file_pair(world):
    return Disk(world, backing="file", level="persistent", log_bytes=4 * MIB)


def backing(disk, node):
    return disk.storage.logs(node)[0]["backing_error"]


def log_fails(world, *kinds):
    """The owner's log cannot be written: nothing is answered until it can."""
    faults = Faults(world)
    disk = file_pair(world)
    disk.write("alpha")
    for number, (operation, cause) in enumerate(kinds):
        faults.set((operation, cause, log_of("alpha")))
        writer = disk.begin_write("alpha", number)
        disk.wait_told("alpha", "the log of group g1", cause)
        check(not is_answered(writer), "a write was answered that is on one disk only")
        check(disk.storage.logs("alpha")[0]["acknowledged"] < disk.storage.logs("alpha")[0]["last"], "it is called acknowledged")
        faults.mend()
        disk.end_write(writer, number)
        disk.wait_well("alpha")
        disk.verify()
        disk.check_told_once("alpha", "writing ", f"failed: {os.strerror(cause)}")
    disk.finish()


@test
def log_fails_and_works_again(world):
    log_fails(world, ("write", errno.ENOSPC), ("sync", errno.EIO), ("torn", errno.EFBIG))


@test
def log_fails_and_the_partner_takes_over(world):
    faults = Faults(world)
    disk = file_pair(world)
    disk.write("alpha")
    faults.set(("write", errno.EIO, log_of("alpha")), ("sync", errno.EIO, log_of("alpha")))
    writer = disk.begin_write("alpha", 0)
    disk.wait_told("alpha", "the log of group g1", errno.EIO)
    check(not is_answered(writer), "a write was answered that is on one disk only")
    reader = disk.dial("alpha")
    check(reader.ask(READ, BLOCK, BLOCK) == block_of(disk.load.seed, 1, disk.load.answered[1]), "a read is not right")
    reader.close()
    disk.take_over("alpha", "beta")
    writer.close()
    faults.mend()
    disk.bring_back("alpha")


@test
def log_of_the_shadow_fails(world):
    """The owner goes on without it once that is certain, and takes it back when its disk works."""
    faults = Faults(world)
    disk = file_pair(world)
    disk.write("alpha")
    faults.set(("sync", errno.EIO, log_of("beta")))
    writer = disk.begin_write("alpha", 0)
    disk.wait_told("beta", "the log of group g1", errno.EIO)
    answered = is_answered(writer)  # asked first: it may go on alone at any moment
    check(not answered or disk.storage.state("alpha") == "alone", "answered by one copy that is not alone")
    wait_for(lambda: is_answered(writer), "the owner to go on alone", 30)
    disk.end_write(writer, 0)
    check(disk.storage.state("alpha") != "protected", "called protected with one copy on a disk")
    disk.write("alpha")
    disk.verify()
    faults.mend()
    disk.finish()


@test
def member_that_comes_back_without_its_shelf(world):
    """Before it was missed, and so to a partner that still counts on it."""
    disk = Disk(world)
    disk.write("alpha")
    wait_for(disk.storage.destaged, "all to be on the disks", 60)
    disk.storage.beta.kill()
    (world.dir / "beta/disk1.img").unlink()
    disk.storage.beta.start()
    disk.storage.beta.wait_log("a shelf is new and empty, and the partner counted on what was on it")
    disk.storage.wait_state("alpha", "alone")
    code, text = disk.storage.beta.cli_code("status")
    check(code == 1, f"status of beta: {text}")
    disk.write("alpha")
    disk.storage.beta.stop()
    disk.storage.beta.start()
    disk.storage.wait_protected(30)
    disk.storage.alpha.kill()
    disk.storage.wait_state("beta", "alone")
    disk.verify()
    disk.bring_back("alpha")


# ---- rot


def rot(path, what):
    """Flips one bit in the middle of the record that holds these bytes."""
    content = path.read_bytes()
    at = content.rfind(what)
    check(at > 0, f"{path} does not hold the record")
    with open(path, "r+b") as file:
        file.seek(at + len(what) // 2)
        file.write(bytes([content[at + len(what) // 2] ^ 0x10]))


def rotted(world, node):
    faults = Faults(world)
    faults.set(*(("write", errno.EIO, image(name)) for name in ("alpha", "beta")))  # so that the logs keep all
    disk = Disk(world)
    disk.write("alpha")
    disk.write("alpha", range(0, BLOCKS, 2))
    for name in ("beta", "alpha"):
        disk.storage.nodes[name].kill()
    middle = BLOCKS // 2
    rot(disk.storage.memory / f"{node}-g1.log", block_of(disk.load.seed, middle, disk.load.answered[middle]))
    for name in ("alpha", "beta"):
        disk.storage.nodes[name].start(wait=False)
    disk.storage.nodes[node].wait_log("the copy is corrupt", timeout_s=30)
    other = "beta" if node == "alpha" else "alpha"
    wait_for(lambda: disk.storage.logs(other)[0]["role"] in ("owner", "shadow"), f"{other} to have its role", 30)
    disk.verify()
    faults.mend()
    disk.storage.wait_protected(30)
    check("the log was cut" not in disk.storage.nodes[node].log(), "the log was cut")
    check(disk.storage.logs(node)[0]["condition"] == "whole", f"the copy of {node} is not whole")
    disk.storage.nodes[other].kill()  # now what was repaired is all there is
    disk.storage.wait_state(node, "alone")
    disk.verify()
    disk.bring_back(other)


@test
def rotted_record_of_the_owner(world):
    rotted(world, "alpha")


@test
def rotted_record_of_the_shadow(world):
    rotted(world, "beta")


if __name__ == "__main__":
    main()
