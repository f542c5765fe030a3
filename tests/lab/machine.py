# SPDX-License-Identifier: Apache-2.0
"""Guests: QEMU processes, what the host does to them (cables, power, freezing), and commands inside them.

Everything of a lab lies in one temporary directory, and ends with it: nothing listens outside of it, so labs may run
beside each other. A QEMU process ends with the process that started it, however that one ends.
"""
import ctypes
import json
import os
import pathlib
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import kit

TOP = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = float(os.environ.get("TEST_PATIENCE", "1"))
NAMES = ("alpha", "beta")
PORTS = 6  # commands that may run in one guest at the same time
BOOT_S = 60
# What emulation is slow at, and nothing here needs. Addresses that differ from process to process make it translate the same
# code again for each; string instructions for which processors have fast paths go byte by byte; the kernel would zero all
# memory and check all copies, and wait for grace periods. All of it together takes half of the processor time.
CPU = "qemu64,svm=off"
KERNEL = ("console=ttyS0 quiet panic=-1 mitigations=off net.ifnames=0 acpi=off pmtmr=0x608 tsc=reliable no_timer_check "
          "cryptomgr.notests audit=0 apparmor=0 lsm=capability nokaslr norandmaps randomize_kstack_offset=off init_on_alloc=0 "
          "hardened_usercopy=off cgroup_disable=memory nowatchdog rcupdate.rcu_expedited=1")
MARK = "CARRICK_LAB"  # in the environment of all that a lab starts: the number of the lab's process
_libc = ctypes.CDLL(None)


class Failure(Exception):
    """A condition of a suite did not hold."""


class Skip(Exception):
    """The case cannot be run here."""


def check(condition, text):
    if not condition:
        raise Failure(text)


def need_programs(*names):
    """The guests' programs are the host's."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [name for name in names if not shutil.which(name, path=path)]
    if missing:
        raise Skip(f"needs {' '.join(missing)} (scripts/deps rdma lab nbd)")


def wait_for(probe, what, timeout_s=20.0, pause_s=0.05):
    """Calls probe() until it answers something true, and returns that."""
    end = time.monotonic() + timeout_s * PATIENCE
    seen = None
    while True:
        try:
            seen = probe()
            if seen:
                return seen
        except (OSError, KeyError, IndexError, ValueError, CommandError) as error:
            seen = error
        if time.monotonic() > end:
            raise Failure(f"waited {timeout_s * PATIENCE:g} s for: {what}; last seen: {seen!r}")
        time.sleep(pause_s)  # between two looks, not instead of one


class CommandError(Exception):
    def __init__(self, where, command, code, output):
        tail = "\n".join(output.strip().splitlines()[-30:])
        super().__init__(f"{where}: '{command}' ended with {code}: {tail}")
        self.code, self.output = code, output


def with_parent():
    """In the new process: its own session, and it ends with the one that started it."""
    os.setsid()
    _libc.prctl(1, signal.SIGKILL)


def directory_prefix():
    return f"carrick-lab-{os.getpid()}-"


def leftovers():
    """What this process's labs have started and made, and is still there: processes, as their numbers, and directories."""
    found, mark = [], f"{MARK}={os.getpid()}".encode()
    for environment in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environment.read_bytes().split(b"\0"):
                found.append(int(environment.parent.name))
        except OSError:
            pass  # it has ended, or is another user's
    return found + sorted(pathlib.Path(tempfile.gettempdir()).glob(directory_prefix() + "*"))


def free_port():
    """An address and port of the host's loopback that no other lab takes."""
    pid = os.getpid()
    address = f"127.{1 + (pid >> 16) % 200}.{(pid >> 8) & 255}.{pid & 255 or 1}"
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()


def connect(path, timeout_s=10):
    end = time.monotonic() + timeout_s * PATIENCE
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(str(path))
            return sock
        except OSError:
            sock.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


class Port:
    """One line to a guest's agent."""

    def __init__(self, path):
        self.sock = connect(path)
        self.lock = threading.Lock()  # held while a command runs
        self.rest = b""

    def read(self, until, deadline, each):
        """Reads up to the pattern; what comes before it goes to each() as it comes. Returns the match."""
        while True:
            found = re.search(until, self.rest)
            if found:
                before, self.rest = self.rest[:found.start()], self.rest[found.end():]
                each(before)
                return found
            keep = self.rest.rfind(b"\n")  # the pattern begins with a line end
            if keep > 0:
                each(self.rest[:keep])
                self.rest = self.rest[keep:]
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                return None
            try:
                data = self.sock.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                raise Failure("the guest has ended")
            self.rest += data


class Job:
    """A command that runs in a guest while the suite goes on."""

    def __init__(self, guest, command, timeout_s):
        self.guest, self.command, self.output, self.code, self.error = guest, command, "", None, None
        self.thread = threading.Thread(target=self._run, args=(timeout_s,), daemon=True)
        self.thread.start()

    def _run(self, timeout_s):
        def each(data):
            self.output += data.decode(errors="replace")

        try:
            self.code, _ = self.guest.run_code(self.command, timeout_s, each)
        except (Failure, OSError) as error:
            self.error = error

    @property
    def running(self):
        return self.thread.is_alive()

    def wait(self, timeout_s=60):
        """Its output; an error if it ended with another status than 0."""
        self.thread.join(timeout_s * PATIENCE)
        check(not self.running, f"{self.guest.name}: '{self.command}' did not end in {timeout_s} s; so far: {self.output}")
        if self.error:
            raise Failure(f"{self.guest.name}: '{self.command}': {self.error}")
        if self.code != 0:
            raise CommandError(self.guest.name, self.command, self.code, self.output)
        return self.output


class Guest:
    def __init__(self, lab, name, disks=()):
        self.lab, self.name, self.number = lab, name, NAMES.index(name) + 1
        self.dir = lab.dir / name
        self.share = self.dir / "share"
        self.share.mkdir(parents=True)
        self.serial = self.dir / "serial"
        self.disks = list(disks)
        self.doors = {port: free_port() for port in lab.doors}
        self.process, self.ports, self.monitor, self.boots, self.commands = None, [], None, 0, 0
        self.spent_s = 0.0  # processor time of the machines that are off
        self.lock = threading.Lock()

    # -- power

    def arguments(self):
        kit_dir, place = self.lab.kit, self.dir
        peer = NAMES[2 - self.number]
        words = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-machine", "pc,accel=tcg", "-cpu", self.lab.cpu, "-smp", "1", "-m", str(self.lab.memory),
            "-kernel", kit_dir / "vmlinux", "-initrd", self.lab.dir / "initramfs",
            "-append", KERNEL,
            "-chardev", f"file,id=serial,path={self.serial},append=on", "-serial", "chardev:serial",
            "-chardev", f"socket,id=shell,path={place}/shell,server=on,wait=off", "-serial", "chardev:shell",
            "-qmp", f"unix:{place}/qmp,server=on,wait=off",
            "-virtfs", f"local,path={self.share},mount_tag=share,security_model=none,multidevs=remap",
            "-virtfs", f"local,path={self.lab.common},mount_tag=common,security_model=none,multidevs=remap",
            "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-serial-pci",
        ]
        for i in range(PORTS):
            words += ["-chardev", f"socket,id=port{i},path={place}/port{i},server=on,wait=off",
                      "-device", f"virtserialport,chardev=port{i},name=lab{i}"]
        for i in range(2):
            words += ["-netdev", f"dgram,id=net{i},local.type=unix,local.path={place}/wire{i},"
                                 f"remote.type=unix,remote.path={self.lab.dir}/{peer}/wire{i}",
                      "-device", f"virtio-net-pci,id=card{i},netdev=net{i},mac=52:54:00:00:{i:02x}:{self.number:02x}"]
        if self.doors:
            forward = ",".join(f"hostfwd=tcp:{host}:{port}-192.168.79.15:{inner}"
                               for inner, (host, port) in self.doors.items())
            words += ["-netdev", f"user,id=net2,restrict=on,net=192.168.79.0/24,{forward}",
                      "-device", "virtio-net-pci,id=card2,netdev=net2"]
        for i, disk in enumerate(self.disks):
            words += ["-drive", f"file={disk},format=raw,if=none,id=disk{i}", "-device", f"virtio-blk-pci,drive=disk{i}"]
        return [str(word) for word in words]

    def power_on(self):
        check(self.process is None, f"{self.name} runs already")
        for old in [*self.dir.glob("port*"), *self.dir.glob("wire*"), self.dir / "qmp", self.dir / "shell"]:
            old.unlink(missing_ok=True)
        (self.share / "settings").write_text("".join(
            f"{name}={shlex.quote(str(value))}\n" for name, value in (
                ("LAB_NODE", self.name), ("LAB_NUMBER", self.number), ("LAB_TOP", TOP), ("LAB_BUILD", self.lab.build),
                ("LAB_KIT", self.lab.kit))))
        self.boots += 1
        with open(self.dir / "qemu.log", "ab") as log:
            # pylint: disable-next=subprocess-popen-preexec-fn
            self.process = subprocess.Popen(self.arguments(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=with_parent)
        return self

    def wait_boot(self):
        deadline = time.monotonic() + BOOT_S * PATIENCE
        try:
            self.ports = [Port(self.dir / f"port{i}") for i in range(PORTS)]
            self.monitor = Monitor(self.dir / "qmp")
            for port in self.ports:
                if not port.read(rb"ready\r?\n", deadline, lambda _: None):
                    raise Failure(f"did not reach its agent in {BOOT_S * PATIENCE:g} s")
        except (Failure, OSError) as error:
            raise Failure(f"{self.name} does not boot: {error}\n{self.serial_tail()}"
                          f"{(self.dir / 'qemu.log').read_text(errors='replace')}") from None
        return self

    def power_cut(self):
        """The machine is off at once; what its disks were not told to keep may be gone."""
        if self.process:
            self.spent_s = self.processor_s()
            self.process.kill()
            self.process.wait()
        for port in self.ports:
            port.sock.close()
        if self.monitor:
            self.monitor.sock.close()
        self.process, self.ports, self.monitor = None, [], None

    def processor_s(self):
        """Processor time of the host that all of its machines have taken."""
        if not self.process:
            return self.spent_s
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return self.spent_s + sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def serial_tail(self, lines=80):
        text = self.serial.read_text(errors="replace") if self.serial.exists() else ""
        return "\n".join(text.splitlines()[-lines:]) + "\n"

    def door(self, port):
        """(address, port) on the host's loopback that leads to that port of the guest."""
        return self.doors[port]

    # -- cables and freezing

    def cable(self, card, plugged):
        """Pulls or plugs a cable at this end: this end sees its carrier go, the other end only silence."""
        self.monitor.ask("set_link", name=f"card{card}", up=plugged)

    def freeze(self):
        """The whole machine stops, its clock with it."""
        self.monitor.ask("stop")

    def thaw(self):
        self.monitor.ask("cont")

    # -- commands

    def free_port(self, timeout_s):
        end = time.monotonic() + timeout_s
        while True:
            for port in self.ports:
                if port.lock.acquire(blocking=False):
                    return port
            check(self.ports, f"{self.name} is off")
            check(time.monotonic() < end, f"all {PORTS} ports of {self.name} are taken")
            time.sleep(0.01)

    def run_code(self, command, timeout_s=30, each=None):
        """(exit status, output). The command is a line of shell; each() gets the output as it comes, if given."""
        timeout_s *= PATIENCE
        port = self.free_port(timeout_s)
        try:
            with self.lock:
                self.commands += 1
                number = f"{self.boots}-{self.commands}"
            (self.share / f"{number}.sh").write_text(command + "\n")
            kept = []
            port.sock.sendall(f"{number} {int(timeout_s) + 1}\n".encode())
            found = port.read(rb"\n@lab %s (\d+)\r?\n" % number.encode(), time.monotonic() + timeout_s + 20,
                              each or kept.append)
            if not found:
                raise Failure(f"{self.name}: no answer to '{command}' in {timeout_s + 20:g} s")
            return int(found.group(1)), b"".join(kept).decode(errors="replace")
        finally:
            port.lock.release()

    def run(self, command, timeout_s=30):
        code, output = self.run_code(command, timeout_s)
        if code != 0:
            raise CommandError(self.name, command, code, output)
        return output

    def spawn(self, command, timeout_s=600):
        return Job(self, command, timeout_s)


class Monitor:
    """QEMU's own control socket."""

    def __init__(self, path):
        self.sock = connect(path)
        self.sock.settimeout(10 * PATIENCE)
        self.file = self.sock.makefile("r", encoding="utf-8")
        self.file.readline()
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        self.sock.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            line = self.file.readline()
            check(line, f"QEMU ended at {command}")
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            check("error" not in answer, f"QEMU refuses {command}: {answer}")


class Lab:
    """A directory, and the guests in it. To be used in a with statement."""

    def __init__(self, build, memory=512, cpu=None, doors=(), find_kit=kit.find_kit):
        os.environ[MARK] = str(os.getpid())
        self.build = pathlib.Path(build).resolve()
        self.kit = find_kit()
        self.memory = memory
        self.cpu = cpu or os.environ.get("LAB_CPU", CPU)
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=directory_prefix()))
        self.common = self.dir / "common"  # /common of all guests
        self.common.mkdir()
        self.doors = doors
        self.guests = {}
        self.left_out = []  # of the case that runs
        try:
            kit.make_initramfs(self.kit, self.dir / "initramfs")
        except BaseException:
            self.close()
            raise

    def start(self, count, disks=()):
        """The guests are up, with their cards and devices. disks: paths for each guest."""
        for i in range(count):
            self.guests[NAMES[i]] = Guest(self, NAMES[i], disks[i] if disks else ())
        for guest in self.guests.values():
            guest.power_on()
        for guest in self.guests.values():
            guest.wait_boot()
        return list(self.guests.values())

    def make_disks(self, count, sizes_mib):
        """Empty disks for each guest; they outlive a power cut, and end with the lab."""
        disks = []
        for name in NAMES[:count]:
            disks.append([self.dir / f"{name}.disk{i}" for i in range(len(sizes_mib))])
            for path, size in zip(disks[-1], sizes_mib):
                with open(path, "wb") as disk:
                    disk.truncate(size << 20)
        return disks

    def settle(self, good=True):
        """Between two cases: the guests are as they were after the start."""
        again = []
        for guest in self.guests.values():
            try:
                check(good and guest.process, "to be started anew")
                guest.thaw()
                for card in range(2):
                    guest.cable(card, True)
                guest.run("exec /busybox/sh /clean", 20)
            except (Failure, CommandError, OSError) as error:
                if good:
                    print(f"     {guest.name} is started anew: {error}", flush=True)
                guest.power_cut()
                again.append(guest)
        for guest in again:
            guest.power_on()
        for guest in again:
            guest.wait_boot()

    def processor_s(self):
        return [guest.processor_s() for guest in self.guests.values()]

    def keep_logs(self, target):
        target.mkdir(parents=True, exist_ok=True)
        for guest in self.guests.values():
            for name in ("serial", "qemu.log"):
                if (guest.dir / name).exists():
                    shutil.copy(guest.dir / name, target / f"{guest.name}.{name.removesuffix('.log')}.log")
            try:
                guest.run_code("cd /tmp && cp *.log *.json /lab/; dmesg >/lab/dmesg.log", 20)
            except (Failure, OSError):
                pass  # off, or it hangs: its console says more
            for path in [*guest.share.glob("*.log"), *guest.share.glob("*.json")]:
                shutil.copy(path, target / f"{guest.name}.{path.name}")

    def close(self):
        for guest in self.guests.values():
            guest.power_cut()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
