# SPDX-License-Identifier: Apache-2.0
"""What the integration tests share: real daemons as real processes, waiting for conditions, counting.

A test is a function marked @test that gets a World: a directory of its own, from which daemons are started, and
which takes everything down again whatever happened. Nothing here sleeps for a time and hopes: wait_for() asks again
until a condition holds, and fails with what it saw last.
"""
import atexit
import contextlib
import json
import os
import pathlib
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD", TOP / "build")).resolve()
# Under sanitizers everything takes longer; deadlines are for hangs, not for speed.
PROFILE = "normal" if os.environ.get("SANITIZE") else "fast"
PATIENCE = float(os.environ.get("TEST_PATIENCE", "4" if os.environ.get("SANITIZE") else "1"))

# Timers of a manager whose links and sessions are to live while something else is tried: under the fast profile a node that
# gets no processor for 80 ms has lost its links, and after one second its session.
CALM = {"link_dead_ms": 5000, "operation_ms": 10000, "session_lost_ms": 10000}


class Failure(Exception):
    """A test's condition did not hold."""


class Skip(Exception):
    """The test cannot be run here."""


def check(condition, text):
    if not condition:
        raise Failure(text)


def wait_for(probe, what, timeout_s=10.0):
    """Calls probe() until it answers something true, and returns that."""
    end = time.monotonic() + timeout_s * PATIENCE
    seen = None
    while True:
        try:
            seen = probe()
            if seen:
                return seen
        # TypeError: a member of what is null for the time being.
        except (OSError, KeyError, IndexError, TypeError, json.JSONDecodeError, CommandError) as error:
            seen = error
        if time.monotonic() > end:
            raise Failure(f"waited {timeout_s:g} s for: {what}; last seen: {seen!r}")
        time.sleep(0.01)  # between two looks, not instead of one


class CommandError(Exception):
    def __init__(self, command, code, output):
        super().__init__(f"'{' '.join(map(str, command))}' ended with {code}: {output.strip()}")
        self.code, self.output = code, output


def run(*command, timeout_s=60, **options):
    """Runs a program to its end; returns its output, or raises CommandError."""
    done = subprocess.run(
        [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=timeout_s * PATIENCE, check=False, **options)
    if done.returncode != 0:
        raise CommandError(command, done.returncode, done.stdout)
    return done.stdout


# A loopback address of this script's own: scripts that run at the same time cannot take each other's ports.
LOOPBACK = f"127.{1 + (os.getpid() >> 16) % 200}.{(os.getpid() >> 8) & 255}.{os.getpid() & 255 or 1}"

_ports = set()


def _ports_to_choose_from():
    """Below those that outgoing connections take: else a node that dials could get the port of one that is not up yet."""
    try:
        first = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        first = 32768
    return range(10000, first) if first >= 12000 else range(10000, 65536)


def free_port():
    """A port on LOOPBACK that nobody has now, and that no other call here got."""
    while True:
        port = random.choice(_ports_to_choose_from())
        if port in _ports:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        _ports.add(port)
        return port


def make_key(path, key=None):
    path.write_bytes(key or secrets.token_hex(32).encode())
    path.chmod(0o600)
    return path


# ---- configuration

ECHO = {"name": "echo", "plugin": "echo", "config": {"interval_ms": 1, "bytes": 4096, "depth": 4}}


def tcp_link(name, alpha, beta, **config):
    """A TCP link; alpha and beta are (address, port)."""
    return {
        "name": name,
        "transport": "tcp",
        "nodes": {
            "alpha": {"address": alpha[0], "port": alpha[1]},
            "beta": {"address": beta[0], "port": beta[1]},
        },
        "config": config,
    }


def loopback_link(name):
    return tcp_link(name, (LOOPBACK, free_port()), (LOOPBACK, free_port()))


def manager(name="main", links=None, clients=None, **more):
    return {
        "name": name,
        "profile": PROFILE,
        "policy": {"plugin": "round_robin"},
        "links": links if links is not None else [loopback_link("left"), loopback_link("right")],
        "clients": clients if clients is not None else [],
        **more,
    }


# ---- a daemon


class Node:
    """One carrickd: its configuration, its process, its events."""

    def __init__(self, world, name, config):
        self.world, self.name, self.config = world, name, config
        self.process, self.follower, self.netns = None, None, None
        self.events = []  # {"at": seconds of the monotonic clock when it was read here, ...}
        self.events_lock = threading.Lock()
        self.socket = world.dir / f"{name}.sock"
        self.config_path = world.dir / f"{name}.json"
        self.log_path = world.dir / f"{name}.log"
        self.binary = BUILD / "bin/carrickd"
        self.tool = BUILD / "bin/carrick"
        self.write_config()

    def write_config(self):
        self.config_path.write_text(json.dumps(self.config, indent=2))

    def inside(self, *command):
        prefix = ["ip", "netns", "exec", self.netns] if self.netns else []
        return [str(word) for word in [*prefix, *command]]

    def start(self, follow=True, wait=True, options=()):
        check(self.process is None, f"{self.name} runs already")
        self.socket.unlink(missing_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.inside(self.binary, "--config", self.config_path, "--node", self.name, *options),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.world.environment())
        self.world.processes.append(self.process)
        if wait:
            wait_for(self.answers, f"{self.name} to answer on its control socket")
        if follow and wait:
            self.follow()
        return self

    def answers(self):
        if self.process and self.process.poll() is not None:
            raise Failure(f"{self.name} ended with {self.process.returncode}:\n{self.log_tail()}")
        return self.cli("version", "--json")

    def log_tail(self, lines=30):
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_log(self, *words, since=0, timeout_s=10):
        """A thread of its own writes the log: what has happened may not be in it yet."""
        wait_for(lambda: all(word in self.log()[since:] for word in words), f"{words} in the log of {self.name}", timeout_s)

    # -- asking it

    def cli(self, *words, timeout_s=60):
        return run(self.tool, "--socket", self.socket, *words, timeout_s=timeout_s)

    def cli_code(self, *words):
        """(exit status, output), whatever it is."""
        try:
            return 0, self.cli(*words)
        except CommandError as error:
            return error.code, error.output

    def ask(self, command, **args):
        """The daemon's own answer, for who looks again and again: the program takes its time to start, most under sanitizers."""
        request = {"command": command, **({"args": args} if args else {})}
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(35 if command == "client" else 5)  # as the program does
            connection.connect(str(self.socket))
            connection.sendall((json.dumps(request) + "\n").encode())
            with connection.makefile() as lines:
                answer = json.loads(lines.readline())
        if not answer["ok"]:
            raise CommandError([command, *args.values()], 1, str(answer))
        return answer["result"]

    def status(self):
        return self.ask("status")

    def manager_status(self, name=None):
        managers = self.status()["managers"]
        return next(one for one in managers if name in (None, one["name"]))

    def session(self, manager_name=None):
        return self.manager_status(manager_name)["session"]

    def link(self, name, manager_name=None):
        return next(one for one in self.manager_status(manager_name)["links"] if one["name"] == name)

    def echo(self, name="echo"):
        return self.ask("client", client=name, word="stats")

    def up(self, manager_name=None):
        return self.session(manager_name)["state"] == "up"

    def wait_up(self, timeout_s=10, manager_name=None):
        wait_for(lambda: self.up(manager_name), f"{self.name}'s session to be up", timeout_s)
        return self

    def wait_refused(self, reason, by=None, timeout_s=10):
        def probe():
            refused = self.session()["refused"]
            return refused if refused and refused["reason"] == reason and by in (None, refused["by"]) else None

        return wait_for(probe, f"{self.name} to show a refusal for {reason} by {by or 'anyone'}", timeout_s)

    def wait_links(self, manager_name=None, timeout_s=10):
        """A session is up with its first link; the others follow."""
        wait_for(lambda: all(link["state"] == "up" for link in self.manager_status(manager_name)["links"]),
                 f"all links of {self.name} to be up", timeout_s)
        return self

    def last_end(self, timeout_s=10):
        """Why the session that is not up any more ended: told once all of it is closed."""
        return wait_for(lambda: self.session()["last_end"], f"{self.name} to tell how the session ended", timeout_s)

    # -- its events

    def follow(self):
        """Returns when the daemon has agreed: what happens from then on is not missed."""
        self.follower = socket.socket(socket.AF_UNIX)
        self.follower.settimeout(20 * PATIENCE)
        self.follower.connect(str(self.socket))
        self.follower.sendall(b'{"command":"events"}\n')
        lines = self.follower.makefile(encoding="utf-8", errors="replace")
        answer = lines.readline()
        check(answer and json.loads(answer).get("ok"), f"{self.name} lets nobody follow its events: {answer}")
        self.follower.settimeout(None)

        def read():
            with contextlib.suppress(OSError):
                for line in lines:
                    try:
                        event = json.loads(line)
                    except json.JSONDecodeError:
                        continue
                    event["at"] = time.monotonic()
                    with self.events_lock:
                        self.events.append(event)

        threading.Thread(target=read, daemon=True).start()

    def mark(self):
        """A place in the events so far."""
        with self.events_lock:
            return len(self.events)

    def find_event(self, name, since=0, **members):
        with self.events_lock:
            for event in self.events[since:]:
                if event.get("event") == name and all(event.get(k) == v for k, v in members.items()):
                    return event
        return None

    def wait_event(self, name, since=0, timeout_s=10, **members):
        def probe():
            return self.find_event(name, since, **members)

        try:
            return wait_for(probe, f"event {name} {members or ''} at {self.name}", timeout_s)
        except Failure as error:
            with self.events_lock:
                seen = [f"{e.get('event')} {e.get('object', '')}" for e in self.events[since:]]
            raise Failure(f"{error}; events seen: {seen}") from None

    # -- its end

    def signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self, timeout_s=10):
        try:
            return self.process.wait(timeout_s * PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} did not end within {timeout_s:g} s") from None
        finally:
            if self.process.poll() is not None:
                self.process = None

    def stop(self):
        self.signal(signal.SIGTERM)
        return self.wait_exit()

    def kill(self):
        self.signal(signal.SIGKILL)
        self.wait_exit()


# ---- a world


class World:
    def __init__(self, name):
        self.name = name
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="carrick-test-"))
        self.processes, self.nodes, self.cleanups = [], {}, []
        self.key = make_key(self.dir / "key")

    def environment(self):
        env = dict(os.environ)
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "JOURNAL_STREAM", "CARRICK_SOCKET"):
            env.pop(name, None)
        return env

    def config(self, managers=None, **more):
        return {
            "cluster": "store1",
            "key_file": str(self.key),
            "plugin_dirs": more.pop("plugin_dirs", None) or [str(directory) for directory in plugin_dirs()],
            "nodes": ["alpha", "beta"],
            "control": {"socket": str(self.dir / "%n.sock")},
            "log": {"level": "debug"},
            "managers": managers or [manager()],
            **more,
        }

    def node(self, name, config):
        # Each node gets a copy of its own, which a test may change.
        self.nodes[name] = Node(self, name, json.loads(json.dumps(config)))
        return self.nodes[name]

    def pair(self, managers=None, start=True, **more):
        """alpha and beta with the same configuration; with start, running and in session over all links."""
        config = self.config(managers, **more)
        alpha, beta = self.node("alpha", config), self.node("beta", config)
        if start:
            alpha.start()
            beta.start()
            for node in (alpha, beta):
                for one in config["managers"]:
                    node.wait_up(manager_name=one["name"]).wait_links(one["name"])
        return alpha, beta

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                try:
                    process.send_signal(signal.SIGCONT)
                    process.terminate()
                except ProcessLookupError:
                    pass
        for process in self.processes:
            try:
                process.wait(5 * PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for cleanup in reversed(self.cleanups):
            try:
                cleanup()
            except Exception as error:  # pylint: disable=broad-except  # the others' turn comes all the same
                print(f"     {self.name} cannot be cleaned up: {error}", flush=True)
        self.cleanups.clear()
        shutil.rmtree(self.dir, ignore_errors=True)

    def show_logs(self):
        for node in self.nodes.values():
            print(f"--- end of {node.name}'s log\n{node.log_tail(40)}", flush=True)


_echo_dir = None


def compile_plugin(sources, output):
    """Compiles a plugin against the headers of the tree, as the tests' own build is compiled."""
    sanitize = os.environ.get("SANITIZE", "")
    flags = [f"-fsanitize={sanitize}"] if sanitize else []
    json_c = run("pkg-config", "--cflags", "--libs", "json-c").split()
    run(os.environ.get("CC", "cc"), "-std=gnu11", "-O1", "-g", "-shared", "-fPIC", "-fvisibility=hidden", *flags,
        f"-I{TOP}/include", *sources, *json_c, "-o", output)


def build_plugin(world, name):
    """Builds tests/integration/NAME.c; returns the directory of the plugin."""
    directory = world.dir / "plugins"
    directory.mkdir(exist_ok=True)
    if not (directory / f"{name}.so").exists():
        compile_plugin([TOP / f"tests/integration/{name}.c"], directory / f"{name}.so")
    return directory


def plugin_dirs():
    """Where the daemon finds its plugins: the built ones, and echo, built once for all tests of a script."""
    global _echo_dir
    if _echo_dir is None:
        _echo_dir = pathlib.Path(tempfile.mkdtemp(prefix="carrick-echo-"))
        atexit.register(shutil.rmtree, _echo_dir, True)
        _echo_dir.chmod(0o755)
        compile_plugin(sorted((TOP / "examples/echo").glob("*.c")), _echo_dir / "echo.so")
    return [BUILD / "plugins", BUILD / "test-plugins", _echo_dir]


# ---- an installation

# Settings of the make that called us: the build stands, and is neither changed nor made again.
_MAKE_VARIABLES = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "DESTDIR", "PREFIX")


def plain_environment():
    return {k: v for k, v in os.environ.items() if k not in _MAKE_VARIABLES}


def make_staged(stage, target):
    """`make install` or `uninstall` of what is built, with DESTDIR. -o: old enough, whatever make thinks."""
    run("make", "--no-print-directory", "-C", TOP, "-o", "all", "-o", f"{BUILD}/flags", f"BUILD={BUILD}",
        f"DESTDIR={stage}", target, env=plain_environment(), timeout_s=120)


def install_staged(stage):
    """Installs below stage. Returns the prefix there, and the directory of carrick.pc, which tells of the staged
    place as it would tell of the real one."""
    make_staged(stage, "install")
    pc = next(stage.rglob("carrick.pc"))
    text = pc.read_text()
    # The file may tell of another prefix than this one: that of an installation made from this build before.
    told = next(line.split("=", 1)[1] for line in text.splitlines() if line.startswith("prefix="))
    prefix = next(stage.rglob("sbin/carrickd")).parents[1]
    pc.write_text(text.replace(told, str(prefix)))
    return prefix, pc.parent


def build_vendor_echo(directory, pc_dir):
    """Builds a copy of examples/echo there, with its own Makefile, on the installed headers alone."""
    shutil.copytree(TOP / "examples/echo", directory, ignore=shutil.ignore_patterns("*.so", "*.o"))
    sanitize = os.environ.get("SANITIZE", "")
    flags = [f"CPPFLAGS=-fsanitize={sanitize}"] if sanitize else []
    return run("make", "-C", directory, f"CARRICK_PREFIX={pc_dir.parents[1]}", *flags, env=plain_environment())


# ---- tests and their count

_tests = []


def test(function):
    _tests.append(function)
    return function


def needs_root(function):
    """The test makes network namespaces."""
    def wrapped(world):
        if os.geteuid() != 0:
            raise Skip("needs root, for network namespaces")
        for tool in ("ip", "iptables"):
            if not shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
                raise Skip(f"needs the command {tool}")
        return function(world)

    wrapped.__name__ = function.__name__
    return wrapped


def main():
    """Runs all tests, or those whose names contain a word of the command line, and prints the count."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    passed = failed = skipped = 0
    world = None

    def leave(_signal, _frame):
        if world:
            world.close()
        sys.exit(130)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    for function in _tests:
        name = function.__name__
        if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
            continue
        start = time.monotonic()
        world = World(name)
        try:
            function(world)
            passed += 1
            print(f"ok   {name} ({time.monotonic() - start:.1f} s)", flush=True)
        except Skip as reason:
            skipped += 1
            print(f"SKIP {name}: {reason}", flush=True)
        except Exception as error:  # pylint: disable=broad-except
            failed += 1
            print(f"FAIL {name}: {error}", flush=True)
            if not isinstance(error, (Failure, CommandError)):
                traceback.print_exc(file=sys.stdout)
            world.show_logs()
        finally:
            world.close()
            world = None
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    sys.exit(1 if failed else 0)
