#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""NBD through nbdkit and libcarrick to the shelf plugin's front, over shelves in memory: real clients, and the end
of either side."""
import atexit
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading

from lib import BUILD, LOOPBACK, PATIENCE, TOP, CommandError, Failure, Skip, check, free_port, main, run, test, wait_for

PLUGIN = BUILD / "nbdkit/nbdkit-carrick-plugin.so"
SHELF_BYTES = 64 << 20
_server_program = None


def need(*commands):
    for command in ("nbdkit", *commands):
        if not shutil.which(command):
            raise Skip(f"needs the command {command}")
    if not (TOP / "plugins/shelf/front.c").exists():
        raise Skip("the shelf plugin is not in the tree")
    if not PLUGIN.exists():
        raise Skip("the nbdkit plugin was left out of this build")


class Server:
    """The front over shelves in memory: one process."""

    def __init__(self, world, name="block"):
        global _server_program
        if _server_program is None:
            _server_program = world.dir.parent / f"carrick-block-server-{os.getpid()}"
            sources = [TOP / "tests/integration/block_server.c", *sorted((TOP / "plugins/shelf").glob("front*.c")),
                       TOP / "common/local_socket.c"]
            atexit.register(_server_program.unlink, True)
            run(os.environ.get("CC", "cc"), "-std=gnu11", "-O1", "-g", "-D_GNU_SOURCE=", f"-I{TOP}/include", f"-I{TOP}",
                *sources, "-o", _server_program)
        self.path = world.dir / name
        self.log = world.dir / f"{name}.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(_server_program), str(self.path), str(SHELF_BYTES)], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, text=True)
        world.processes.append(self.process)
        check(self.process.stdout.readline() == "ready\n", f"the server did not start: {self.log.read_text()}")

    def do(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def count(self):
        return json.loads(self.do("count"))

    def kill(self):
        self.process.kill()
        self.process.wait()


class Nbd:
    """One nbdkit over a server's socket."""

    def __init__(self, world, server, name="nbd", port=None):
        self.socket = world.dir / f"{name}.sock"
        self.log = world.dir / f"{name}.log"
        where = ["-p", str(port), "-i", LOOPBACK] if port else ["-U", str(self.socket)]
        self.uri = f"nbd://{LOOPBACK}:{port}" if port else f"nbd+unix:///?socket={self.socket}"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["nbdkit", "-f", "-v", *where, "-P", str(world.dir / f"{name}.pid"), str(PLUGIN),
                 f"socket={server.path}", "shelf=disk1", "timeout=5"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        world.processes.append(self.process)
        # nbdkit writes its process id when it listens.
        wait_for(lambda: (world.dir / f"{name}.pid").exists(), "nbdkit to listen")

    def qemu_io(self, *commands, timeout_s=30):
        words = [word for command in commands for word in ("-c", command)]
        return run("qemu-io", "-f", "raw", self.uri, *words, timeout_s=timeout_s)


def fio(uri, *options, timeout_s=60):
    need("fio")
    return run("fio", "--name=v", "--ioengine=nbd", f"--uri={uri}", *options, timeout_s=timeout_s, cwd="/tmp")


@test
def what_the_export_says(world):
    need("nbdinfo")
    server = Server(world)
    nbd = Nbd(world, server)
    told = json.loads(run("nbdinfo", "--json", nbd.uri))["exports"][0]
    check(told["export-size"] == SHELF_BYTES, f"size {told['export-size']}")
    for name in ("can_flush", "can_fua", "can_trim", "can_zero", "can_fast_zero", "can_multi_conn"):
        check(told[name], f"{name} is not offered")
    check(not told["is_read_only"], "read only")


@test
def operations_arrive_as_what_they_are(world):
    need("qemu-io")
    server = Server(world)
    nbd = Nbd(world, server)
    out = nbd.qemu_io("write -P 0x5a 4096 8192", "read -P 0x5a 4096 8192", "write -f -P 0x33 65536 512",
                      "discard 4096 4096", "read -P 0 4096 4096", "write -z 8192 4096", "read -P 0 8192 4096", "flush")
    check("Pattern verification failed" not in out, out)
    seen = server.count()
    check(seen["fua"] >= 1 and seen["trim"] >= 1 and seen["zero"] >= 1 and seen["flush"] >= 1, f"{seen}")


@test
def verified_load_with_many_connections(world):
    need("fio")
    server = Server(world)
    server.do("room 4")  # fewer than are asked at once: requests are held back
    nbd = Nbd(world, server)
    fio(nbd.uri, "--rw=randrw", "--bsrange=512-512k", "--size=16M", "--iodepth=32", "--verify=crc32c", "--do_verify=1",
        "--verify_fatal=1", "--numjobs=3", "--offset_increment=16M")
    check(server.count()["again"] > 0, "nothing was held back: the test shows less than it should")


@test
def an_image_is_copied_in_and_out(world):
    need("nbdcopy")
    server = Server(world)
    nbd = Nbd(world, server)
    image, back = world.dir / "image", world.dir / "back"
    image.write_bytes(os.urandom(8 << 20) + bytes(4 << 20) + os.urandom((SHELF_BYTES >> 2) - 12 * (1 << 20)))
    run("nbdcopy", "--flush", image, nbd.uri, timeout_s=60)
    run("nbdcopy", nbd.uri, back, timeout_s=60)
    with open(image, "rb") as one, open(back, "rb") as other:
        length = image.stat().st_size
        check(one.read() == other.read(length), "what came back differs")


class Raw:
    """An NBD client that sees each byte, and so sees when a connection ends and what was answered on it."""

    def __init__(self, nbd):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20 * PATIENCE)
        self.socket.connect(str(nbd.socket))
        check(self.take(18)[:16] == b"NBDMAGICIHAVEOPT", "no NBD server")
        self.socket.sendall((3).to_bytes(4, "big") + b"IHAVEOPT" + (1).to_bytes(4, "big") + (0).to_bytes(4, "big"))
        self.take(10)

    def take(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError(data)
            data += piece
        return data

    def read(self, cookie, offset=0, length=512):
        self.socket.sendall((0x25609513).to_bytes(4, "big") + bytes(2) + bytes(2) + cookie.to_bytes(8, "big")
                            + offset.to_bytes(8, "big") + length.to_bytes(4, "big"))

    def answer(self, length=512):
        head = self.take(16)
        error = int.from_bytes(head[4:8], "big")
        return error, int.from_bytes(head[8:16], "big"), self.take(length) if not error else b""

    def end(self):
        """All that comes until the end of the connection."""
        left = b""
        try:
            while piece := self.socket.recv(4096):
                left += piece
        except ConnectionResetError:
            pass
        return left


@test
def a_closed_export_ends_the_connection_without_an_answer(world):
    need()
    server = Server(world)
    nbd = Nbd(world, server)
    asked, idle = Raw(nbd), Raw(nbd)
    for client in (asked, idle):
        client.read(1)
        check(client.answer()[:2] == (0, 1), "the first read was not answered")
    server.do("stuck")
    for cookie in range(2, 6):
        asked.read(cookie)
    server.do("close")
    check(asked.end() == b"", "something was answered after the export had closed")
    check(idle.end() == b"", "something came on a connection on which nothing was asked")


@test
def nobody_is_let_in_while_another_node_serves(world):
    need("nbdinfo")
    server = Server(world)
    nbd = Nbd(world, server)
    server.do("close")
    try:
        run("nbdinfo", nbd.uri)
        raise Failure("a shelf that is not served was opened")
    except CommandError:
        pass
    # nbdkit tells the operator why, and who serves it.
    wait_for(lambda: "beta" in nbd.log.read_text(), "the reason in nbdkit's log")
    server.do("serve")
    run("nbdinfo", nbd.uri)


@test
def the_daemon_is_killed_under_load(world):
    need("fio")
    server = Server(world)
    nbd = Nbd(world, server)
    failed = []

    def load():
        try:
            fio(nbd.uri, "--rw=randwrite", "--bs=4k", "--size=16M", "--iodepth=16", "--time_based", "--runtime=60")
        except CommandError as error:
            failed.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    wait_for(lambda: server.count()["write"] > 500, "the load to run")
    server.kill()
    thread.join(50 * PATIENCE)  # it would run for 60
    check(not thread.is_alive() and failed, "the load went on without a daemon")
    check(nbd.process.poll() is None, f"nbdkit died with the daemon: {nbd.process.poll()} {nbd.log.read_text()[-600:]}")
    # The stale socket is replaced, and the same nbdkit serves again.
    server = Server(world)
    fio(nbd.uri, "--rw=randwrite", "--bs=4k", "--size=1M", "--iodepth=4")
    check(server.count()["write"] == 256, "the new daemon got other writes than those of its client")


@test
def nbdkit_is_killed_under_load(world):
    need("fio")
    server = Server(world)
    nbd, other = Nbd(world, server), Nbd(world, server, "other")
    command = ["fio", "--name=v", "--ioengine=nbd", f"--uri={nbd.uri}", "--rw=randwrite", "--bs=64k", "--size=16M",
               "--iodepth=16", "--time_based", "--runtime=60"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=world.dir) as load:
        wait_for(lambda: server.count()["write"] > 200, "the load to run")
        nbd.process.send_signal(signal.SIGKILL)
        nbd.process.wait()
        load.kill()
    wait_for(lambda: json.loads(server.do("describe"))["connections"] == [], "its connections to be gone")
    fio(other.uri, "--rw=randrw", "--bs=4k", "--size=1M", "--iodepth=4", "--verify=crc32c")


@test
def a_stopped_nbdkit_holds_nobody_up(world):
    need("fio")
    server = Server(world)
    nbd, other = Nbd(world, server), Nbd(world, server, "other")
    client = Raw(nbd)
    client.read(1)
    client.answer()
    server.do("delay 50000000")
    for cookie in range(2, 10):
        client.read(cookie)
    nbd.process.send_signal(signal.SIGSTOP)
    server.do("delay 0")
    fio(other.uri, "--rw=randrw", "--bs=4k", "--size=4M", "--iodepth=8", "--verify=crc32c")
    server.do("close")
    nbd.process.send_signal(signal.SIGCONT)
    # What was answered before it was stopped may come; then the end.
    client.end()


@test
def a_slow_server_is_waited_for(world):
    need("qemu-io")
    server = Server(world)
    nbd = Nbd(world, server)
    server.do("delay 300000000")
    check("Pattern verification failed" not in nbd.qemu_io("write -P 7 0 4096", "read -P 7 0 4096"), "lost")


@test
def errors_of_the_disk_reach_the_client(world):
    need("qemu-io")
    server = Server(world)
    nbd = Nbd(world, server)
    for number, text in ((28, "No space left"), (5, "Input/output error")):
        server.do(f"fail {number}")
        try:
            out = nbd.qemu_io("write 0 4096")
        except CommandError as error:
            out = error.output
        check(text in out, f"errno {number} came out as: {out}")


@test
def over_tcp_the_connection_ends_too(world):
    need("nbdinfo")
    server = Server(world)
    nbd = Nbd(world, server, port=free_port())
    port = int(re.search(r":(\d+)$", nbd.uri).group(1))
    with socket.create_connection((LOOPBACK, port), 20 * PATIENCE) as client:
        client.settimeout(20 * PATIENCE)
        client.sendall((3).to_bytes(4, "big") + b"IHAVEOPT" + (1).to_bytes(4, "big") + (0).to_bytes(4, "big"))
        got = b""
        while len(got) < 28:
            got += client.recv(64)
        server.do("close")
        check(client.recv(64) == b"", "the connection went on")


@test
def mistakes_on_the_command_line_are_named(world):
    need()
    for words, said in ((["socket=/x"], "shelf"), (["shelf=d", "colour=red"], "colour"),
                        (["shelf=d", "timeout=0"], "timeout")):
        try:
            run("nbdkit", "-f", "-U", world.dir / "s", PLUGIN, *words)
            raise Failure(f"{words} was taken")
        except CommandError as error:
            check(said in error.output, error.output)


if __name__ == "__main__":
    main()
