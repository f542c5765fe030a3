#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Strangers and broken partners: garbage, half handshakes, floods, silence. No crash, no hang, no harm to a session."""
import contextlib
import os
import random
import select
import signal
import socket
import threading
import time

from lib import CALM, ECHO, LOOPBACK, PATIENCE, check, free_port, loopback_link, main, manager, tcp_link, test, wait_for


def dial(port, timeout_s=10.0):
    return socket.create_connection((LOOPBACK, port), timeout_s * PATIENCE)


def drain(sock, timeout_s=0.2):
    """What comes until the other side closes or is silent for a while."""
    data = b""
    sock.settimeout(timeout_s)
    with contextlib.suppress(OSError):
        while chunk := sock.recv(65536):
            data += chunk
    return data


def memory_kib(node):
    for line in open(f"/proc/{node.process.pid}/status", encoding="ascii"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def descriptors(node):
    return len(os.listdir(f"/proc/{node.process.pid}/fd"))


class Relay:
    """Stands between alpha and beta on one link: passes on so many bytes, then stalls or closes."""

    def __init__(self, world, target_port):
        self.port, self.target = free_port(), target_port
        self.limit, self.after = None, "pass"  # bytes each way; then: pass, stall, close
        self.first = []  # what a connecting side said first, recorded for replay
        self.listener = socket.create_server((LOOPBACK, self.port))
        self.pairs, self.closed = [], False
        world.cleanups.append(self.close)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.closed = True
        self.listener.close()
        self.drop_all()

    def drop_all(self):
        for pair in list(self.pairs):
            for sock in pair:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()
        self.pairs.clear()

    def _accept(self):
        while not self.closed:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = dial(self.target)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            pair = (near, far)
            self.pairs.append(pair)
            budget = [self.limit, self.limit]
            for way in (0, 1):
                threading.Thread(target=self._pump, args=(pair, way, budget, self.after), daemon=True).start()

    def _pump(self, pair, way, budget, after):
        source, sink = pair[way], pair[1 - way]
        recorded = b""
        try:
            while data := source.recv(65536):
                if way == 0 and len(recorded) < 4096:
                    recorded += data
                    self.first = (self.first + [recorded])[-1:]
                if budget[way] is not None:
                    data, budget[way] = data[: budget[way]], max(0, budget[way] - len(data))
                if data:
                    sink.sendall(data)
                if budget[way] == 0 and after == "stall":
                    while not self.closed and source.recv(65536):
                        pass  # swallowed: the connection stays open, and nothing comes through
                if budget[way] == 0 and after == "close":
                    break
        except OSError:
            pass
        for sock in pair:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def relayed_pair(world, start=True, **more):
    """One link; each node reaches the other through a relay."""
    ports = {"alpha": free_port(), "beta": free_port()}
    relays = {name: Relay(world, port) for name, port in ports.items()}  # relays[n] leads to n
    nodes = []
    for name, partner in (("alpha", "beta"), ("beta", "alpha")):
        place = {name: (LOOPBACK, ports[name]), partner: (LOOPBACK, relays[partner].port)}
        link = tcp_link("left", place["alpha"], place["beta"])
        nodes.append(world.node(name, world.config([manager(links=[link], clients=[ECHO], **more)])))
    if start:
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait_up().wait_links()
    return (*nodes, relays)


@test
def garbage_at_the_port(world):
    alpha, beta = world.pair([manager(clients=[ECHO], timers=CALM)])
    session = alpha.session()["id"]
    port = alpha.config["managers"][0]["links"][0]["nodes"]["alpha"]["port"]
    chance = random.Random(3)
    for size in [0, 1, 3, 4, 8, 16, 56, 64, 100, 4096, 70000, 1 << 20]:
        for filling in ("random", "zeros", "ones", "text"):
            data = {
                "random": chance.randbytes(size),
                "zeros": bytes(size),
                "ones": b"\xff" * size,
                "text": (b"GET / HTTP/1.1\r\nHost: alpha\r\n\r\n" * (size // 30 + 1))[:size],
            }[filling]
            with dial(port) as sock, contextlib.suppress(OSError):
                sock.sendall(data)
    before = alpha.echo()["answered"]
    wait_for(lambda: alpha.echo()["answered"] > before + 50, "the session to carry data")
    check(alpha.session()["id"] == session == beta.session()["id"], "strangers ended the session")
    check(alpha.echo()["lost"] == 0 and alpha.echo()["mismatches"] == 0, f"{alpha.echo()}")


@test
def a_stranger_gets_nothing_before_it_has_proven_itself(world):
    alpha, _ = world.pair()
    port = alpha.config["managers"][0]["links"][0]["nodes"]["alpha"]["port"]
    with dial(port) as sock:
        said = drain(sock, 1.0)
    check(len(said) <= 256, f"{len(said)} bytes are said to whoever connects")
    for word in (b"alpha", b"store1", alpha.manager_status()["incarnation"].encode()):
        check(word not in said, f"{word} is told to a stranger")


@test
def half_open_connections_are_bounded_in_number_and_time(world):
    alpha, beta = world.pair([manager(clients=[ECHO], timers=CALM)])
    session = alpha.session()["id"]
    port = alpha.config["managers"][0]["links"][0]["nodes"]["alpha"]["port"]
    idle_files, idle_memory = descriptors(alpha), memory_kib(alpha)
    with contextlib.ExitStack() as stack:
        crowd = []
        for _ in range(300):
            with contextlib.suppress(OSError):
                crowd.append(stack.enter_context(dial(port)))
        before = alpha.echo()["answered"]
        wait_for(lambda: alpha.echo()["answered"] > before + 50, "the session to carry data meanwhile")
        check(descriptors(alpha) < idle_files + 150, f"{descriptors(alpha) - idle_files} descriptors for strangers")
        grown = memory_kib(alpha) - idle_memory
        check(grown < 64 * 1024, f"300 silent strangers cost {grown} KiB")
        # None of them is kept beyond the deadline of a handshake (connect_ms is 500 here).
        wait_for(lambda: descriptors(alpha) <= idle_files + 5, "silent strangers to be turned out", 20)
    check(alpha.session()["id"] == session == beta.session()["id"], "strangers ended the session")


@test
def half_handshakes(world):
    """A partner that stops after any number of bytes of the handshake, silent or closing, holds up nobody for long."""
    alpha, beta, relays = relayed_pair(world)
    wait_for(lambda: relays["alpha"].first or relays["beta"].first, "a handshake to be recorded")
    chance = random.Random(4)
    limits = [0, 1, 7, 8, 20, 40, 64, 100, 130, 200] + [chance.randrange(200, 3000) for _ in range(8)]
    for i, limit in enumerate(limits):
        for relay in relays.values():
            relay.limit, relay.after = limit, ("stall", "close")[i % 2]
            relay.drop_all()
        # With some bytes a session may live on, over ever new connections; it must not be on one that is stuck.
        failures = alpha.link("left")["failures"] + beta.link("left")["failures"]
        wait_for(
            lambda f=failures: not (alpha.up() and beta.up())
            or alpha.link("left")["failures"] + beta.link("left")["failures"] >= f + 2,
            f"the connection to fail with only {limit} bytes let through", 30)
        # Neither hangs: both answer, and each shows a state that its deadline ends.
        for node in (alpha, beta):
            check(node.cli("links"), f"{node.name} answers")
        for relay in relays.values():
            relay.limit, relay.after = None, "pass"
            relay.drop_all()
        for node in (alpha, beta):
            node.wait_up(20)
        start = alpha.echo()["answered"]
        wait_for(lambda start=start: alpha.echo()["answered"] > start + 10, "data to flow again")
    for node in (alpha, beta):
        check(node.echo()["mismatches"] == 0 and node.echo()["refused"] == 0, f"{node.name}: {node.echo()}")


@test
def a_handshake_is_replayed(world):
    """What a connecting partner once said proves nothing the second time."""
    alpha, beta, relays = relayed_pair(world, timers=CALM)
    session = alpha.session()["id"]
    said = {name: relay.first for name, relay in relays.items() if relay.first}
    check(said, "no handshake was recorded")
    for name, first in said.items():
        node = alpha if name == "alpha" else beta
        failures = node.log().count("authentication")
        for _ in range(5):
            with dial(relays[name].target) as sock:
                with contextlib.suppress(OSError):
                    sock.sendall(first[0])
                drain(sock, 1.0)
        check(node.session()["id"] == session, f"{name}: a replay took the session's place")
        check(node.up() and node.log().count("authentication") >= failures, "up")
    start = alpha.echo()["answered"]
    wait_for(lambda: alpha.echo()["answered"] > start + 50, "data to flow")


@test
def bytes_are_changed_on_the_way(world):
    """Whoever sits between the nodes and changes a byte of the handshake gets a refusal, not a session."""
    alpha, beta, relays = relayed_pair(world, start=False)
    changed, attempts = threading.Event(), []
    for relay in relays.values():
        original = relay._pump  # pylint: disable=protected-access

        def pump(pair, way, budget, after, original=original):
            if changed.is_set():
                return original(pair, way, budget, after)
            source, sink = pair[way], pair[1 - way]
            with contextlib.suppress(OSError):
                data = bytearray(source.recv(65536))
                if data:
                    attempts.append(way)
                    data[-1] ^= 0x40
                    sink.sendall(bytes(data))
            return original(pair, way, budget, after)

        relay._pump = pump  # pylint: disable=protected-access
    alpha.start()
    beta.start()
    wait_for(lambda: len(attempts) > 10 and alpha.link("left")["cause"], "attempts to fail", 30)
    check(not alpha.up() and not beta.up(), "a session came up over a changed handshake")
    changed.set()
    for relay in relays.values():
        relay.drop_all()
    for node in (alpha, beta):
        node.wait_up(20)


class FakePartner:
    """Listens where beta should be, and answers with what answer(n) says; also dials alpha with the same."""

    def __init__(self, world, port, answer):
        self.listener = socket.create_server((LOOPBACK, port))
        self.answer, self.count, self.closed = answer, 0, False
        world.cleanups.append(self.close)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self.closed = True
        self.listener.close()

    def _serve(self):
        held = []
        while not self.closed:
            ready, _, _ = select.select([self.listener], [], [], 0.1)
            if not ready:
                continue
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            data = self.answer(self.count)
            self.count += 1
            with contextlib.suppress(OSError):
                sock.sendall(data)
            held = (held + [sock])[-8:]  # silent afterwards, for as long as it is kept


def meets_fake(world, answer, attempts=5):
    link = loopback_link("left")
    alpha = world.node("alpha", world.config([manager(links=[link])]))
    fake = FakePartner(world, link["nodes"]["beta"]["port"], answer)
    alpha.start()
    wait_for(lambda: fake.count >= attempts, f"alpha to try {attempts} times", 20)
    check(not alpha.up(), "a session with a fake")
    shown = wait_for(lambda: alpha.link("left")["cause"], "a cause to be shown")
    started = time.monotonic()
    code, out = alpha.cli_code("status")
    check(code == 1 and out.startswith("DOWN"), f"{code} {out}")
    check(time.monotonic() - started < 10 * PATIENCE, "status takes long")
    check(alpha.stop() == 0, "a clean stop")
    return shown


@test
def a_partner_that_answers_garbage(world):
    chance = random.Random(5)
    meets_fake(world, lambda n: chance.randbytes([1, 10, 64, 128, 500, 5000][n % 6]))


@test
def a_partner_that_says_nothing(world):
    meets_fake(world, lambda n: b"", attempts=3)


@test
def a_partner_that_answers_with_what_it_was_sent(world):
    """A mirror: proofs must not be good in the other direction."""
    link = loopback_link("left")
    alpha = world.node("alpha", world.config([manager(links=[link])]))
    port = link["nodes"]["alpha"]["port"]
    relay_port = link["nodes"]["beta"]["port"]
    listener = socket.create_server((LOOPBACK, relay_port))
    world.cleanups.append(listener.close)
    seen = []

    def mirror():
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            seen.append(1)
            # Alpha's own words go back to alpha, and into alpha's own port as well.
            def back(near=near):
                with contextlib.suppress(OSError), dial(port) as own:
                    own.settimeout(0.05)
                    near.settimeout(0.05)
                    end = time.monotonic() + 3
                    while time.monotonic() < end:
                        for source, sink in ((near, own), (own, near)):
                            with contextlib.suppress(TimeoutError):
                                data = source.recv(65536)
                                if not data:
                                    return
                                sink.sendall(data)
                near.close()

            threading.Thread(target=back, daemon=True).start()

    threading.Thread(target=mirror, daemon=True).start()
    alpha.start()
    wait_for(lambda: len(seen) >= 5, "alpha to have met itself some times", 20)
    check(not alpha.up(), "a session with itself")
    check(alpha.link("left")["state"] != "up", "a link to itself")


@test
def a_daemon_that_is_stopped_holds_up_no_command(world):
    alpha, _ = world.pair()
    alpha.signal(signal.SIGSTOP)
    started = time.monotonic()
    code, out = alpha.cli_code("--timeout", "0.5", "status")
    check(code == 3, f"{code} {out}")
    check(str(alpha.process.pid) in out and "not answer" in out, out)
    check(time.monotonic() - started < 10 * PATIENCE, "the deadline is not kept")
    alpha.signal(signal.SIGCONT)


if __name__ == "__main__":
    main()
