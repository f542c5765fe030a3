# SPDX-License-Identifier: Apache-2.0
"""A user of NBD exports who checks what he is told: a client of the NBD protocol that dials whoever serves, and a load of
writes and reads whose history must be that of one disk.

Each block has one writer, who writes rising numbers into it. So a read is right if and only if its number is at least
the last that was answered before the read began (and any that an earlier read has shown), and at most the last that was asked
for before the read ended. A write without an answer is asked for again, with the same number, on the next connection.
"""
import os
import random
import socket
import struct
import threading
import time
import zlib

BLOCK = 4096
REQUEST, REPLY = 0x25609513, 0x67446698
READ, WRITE, DISC, FLUSH, TRIM = 0, 1, 2, 3, 4
FLAG_FUA = 1


class Gone(Exception):
    """The connection ended, or could not be made."""


class Nbd:
    """One connection. Requests may be many at once: submit, then receive in any order."""

    def __init__(self, path, timeout_s=5):
        self.path, self.handle, self.open = path, 0, {}
        # A path, or (address, port).
        self.socket = socket.socket(socket.AF_INET if isinstance(path, tuple) else socket.AF_UNIX)
        self.socket.settimeout(timeout_s)
        try:
            self.socket.connect(path if isinstance(path, tuple) else str(path))
            magic, option, flags = struct.unpack(">8s8sH", self._receive(18))
            if magic != b"NBDMAGIC" or option != b"IHAVEOPT":
                raise Gone("this is no NBD server")
            self.socket.sendall(struct.pack(">I8sII", 3 if flags & 2 else 1, b"IHAVEOPT", 1, 0))
            self.bytes, self.flags = struct.unpack(">QH", self._receive(10))
            if not flags & 2:
                self._receive(124)
        except (OSError, struct.error) as error:
            self.close()
            raise Gone(str(error)) from None
        except Gone:
            self.close()
            raise

    def _receive(self, length):
        parts = bytearray()
        while len(parts) < length:
            try:
                part = self.socket.recv(length - len(parts))
            except OSError as error:
                raise Gone(str(error)) from None
            if not part:
                raise Gone("end of connection")
            parts += part
        return bytes(parts)

    def submit(self, kind, offset=0, length=0, data=b"", flags=0):
        self.handle += 1
        self.open[self.handle] = (kind, length)
        try:
            self.socket.sendall(struct.pack(">IHHQQI", REQUEST, flags, kind, self.handle, offset, length or len(data)) + data)
        except OSError as error:
            raise Gone(str(error)) from None
        return self.handle

    def receive(self):
        """(handle, errno, data)"""
        magic, error, handle = struct.unpack(">IIQ", self._receive(16))
        if magic != REPLY or handle not in self.open:
            raise Gone("garbage in a reply")
        kind, length = self.open.pop(handle)
        data = self._receive(length) if kind == READ and error == 0 else b""
        return handle, error, data

    def ask(self, kind, offset=0, length=0, data=b"", flags=0):
        handle = self.submit(kind, offset, length, data, flags)
        answered, error, data = self.receive()
        if answered != handle:
            raise Gone("an answer to another question")
        if error:
            raise Gone(f"error {error}: {os.strerror(error)}")
        return data

    def close(self):
        self.socket.close()


def dial(paths, deadline, first=0):
    """A connection to the first of the servers that takes one; None after the deadline."""
    turn = first
    while time.monotonic() < deadline:
        try:
            return Nbd(paths[turn % len(paths)]), turn % len(paths)
        except Gone:
            turn += 1
            if turn % len(paths) == first:
                time.sleep(0.005)
    return None, turn % len(paths)


def block_of(seed, block, number):
    """The content of a block: its place and number, and bytes that follow from these alone."""
    head = struct.pack("<QQQ", seed, block, number)
    filler = random.Random(zlib.crc32(head)).getrandbits(8 * 64).to_bytes(64, "little")
    body = head + (filler * (BLOCK // 64))[: BLOCK - len(head) - 4]
    return body + struct.pack("<I", zlib.crc32(body))


def number_of(seed, block, data):
    """The number in a block; 0 for one that was never written; None for what nobody wrote."""
    if not any(data):
        return 0
    got_seed, got_block, number = struct.unpack_from("<QQQ", data)
    if got_seed != seed or got_block != block or zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
        return None
    return number


class Writer(threading.Thread):
    """Writes random blocks of its own part, and reads random blocks of all parts."""

    def __init__(self, load, index):
        super().__init__(daemon=True)
        self.load, self.index = load, index
        self.random = random.Random(load.seed * 1000 + index)
        self.mine = range(index * load.blocks // load.writers, (index + 1) * load.blocks // load.writers)
        self.pending = None  # block whose last write has no answer yet

    def run(self):
        load, connection, turn = self.load, None, self.index
        while not load.ended():
            if connection is None:
                connection, turn = dial(load.paths, time.monotonic() + 0.2, turn % len(load.paths))
                if connection is None:
                    continue
            try:
                self.step(connection)
            except Gone:
                connection.close()
                connection = None
                load.count("reconnects")
                turn += 1
        if connection:
            connection.close()

    def step(self, connection):
        if self.pending is None and self.random.random() < self.load.reads:
            self.read(connection, self.random.randrange(self.load.blocks))
        else:
            self.write(connection)

    def write(self, connection):
        load = self.load
        block = self.pending if self.pending is not None else self.random.choice(self.mine)
        if self.pending is None:
            load.asked[block] += 1
        self.pending = block
        number = load.asked[block]
        began = time.monotonic()
        connection.ask(WRITE, load.offset + block * BLOCK, data=block_of(load.seed, block, number))
        load.answered[block] = number
        self.pending = None
        load.answer("writes", began, connection)

    def read(self, connection, block):
        load = self.load
        with load.lock:
            least = max(load.answered[block], load.shown[block])
        began = time.monotonic()
        data = connection.ask(READ, load.offset + block * BLOCK, BLOCK)
        number, most = number_of(load.seed, block, data), load.asked[block]
        if number is None or not least <= number <= most:
            load.wrong.append(f"block {block}: read {'garbage' if number is None else number}, not {least} to {most}")
        else:
            with load.lock:
                load.shown[block] = max(load.shown[block], number)
        load.answer("reads", began, connection)


class Load:
    def __init__(self, paths, blocks=256, writers=4, reads=0.3, offset=0, seed=1):
        self.paths, self.blocks, self.writers, self.reads, self.offset, self.seed = paths, blocks, writers, reads, offset, seed
        self.asked, self.answered, self.shown = [0] * blocks, [0] * blocks, [0] * blocks
        self.lock, self.stopping, self.wrong = threading.Lock(), threading.Event(), []
        self.counts = {"writes": 0, "reads": 0, "reconnects": 0}
        self.times = []  # of each answer: when it came, from which server, and to what
        self.longest_s = 0.0
        self.threads = [Writer(self, i) for i in range(writers)]

    def start(self):
        for thread in self.threads:
            thread.start()
        return self

    def ended(self):
        return self.stopping.is_set()

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def answer(self, what, began, connection):
        now = time.monotonic()
        with self.lock:
            self.counts[what] += 1
            self.times.append((now, connection.path, what))
            self.longest_s = max(self.longest_s, now - began)

    def answers_since(self, at):
        with self.lock:
            return sum(1 for when, *_ in self.times if when > at)

    def first_answer_from(self, path, at, to=("reads", "writes")):
        """When that server gave its first answer after `at`; None while there is none."""
        with self.lock:
            return min((when for when, server, what in self.times if when > at and server == path and what in to),
                       default=None)

    def gap_s(self, since):
        """The longest time without any answer from `since` on."""
        with self.lock:
            times = sorted(when for when, *_ in self.times if when > since)
        return max((b - a for a, b in zip([since] + times, times)), default=float("inf"))

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
            if thread.is_alive():
                self.wrong.append(f"writer {thread.index} is stuck")
        return self

    def verify(self, deadline_s=60):
        """Reads every block, from whoever serves; returns what is wrong."""
        wrong, block, deadline = list(self.wrong), 0, time.monotonic() + deadline_s
        while block < self.blocks:
            connection, _ = dial(self.paths, deadline)
            if connection is None:
                return wrong + ["nobody serves"]
            try:
                while block < self.blocks:
                    data = connection.ask(READ, self.offset + block * BLOCK, BLOCK)
                    number = number_of(self.seed, block, data)
                    least = max(self.answered[block], self.shown[block])
                    if number is None or not least <= number <= self.asked[block]:
                        wrong.append(f"block {block}: holds {'garbage' if number is None else number}, "
                                     f"not {least} to {self.asked[block]}")
                    block += 1
            except Gone:
                if time.monotonic() > deadline:
                    return wrong + ["nobody serves for long enough to be read"]
            finally:
                connection.close()
        return wrong
