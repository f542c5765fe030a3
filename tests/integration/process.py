#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""carrickd as a process: its command line, its exit statuses, what it tells the service manager, its log, its
metrics, and what it does when one of its managers stands still."""
import contextlib
import json
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import urllib.error
import urllib.request

from lib import BUILD, LOOPBACK, CommandError, check, free_port, main, manager, run, test, wait_for

CARRICKD = BUILD / "bin/carrickd"


def code_of(*words, env=None):
    try:
        return 0, run(CARRICKD, *words, env=env)
    except CommandError as error:
        return error.code, error.output


def launch(node, *more, env=None, **options):
    """Starts the node's daemon with another environment; returns once it answers."""
    with open(node.log_path, "ab") as log:
        options.setdefault("stderr", log)
        node.process = subprocess.Popen(
            [CARRICKD, "--config", node.config_path, "--node", node.name, *more], stdin=subprocess.DEVNULL,
            stdout=log, env={**node.world.environment(), **(env or {})}, **options)
    node.world.processes.append(node.process)
    wait_for(node.answers, f"{node.name} to answer")
    return node


def lonely(world, managers=None, **more):
    return world.node("alpha", world.config(managers, **more))


class Notices:
    """What the daemon tells the service manager."""

    def __init__(self, world):
        self.path = str(world.dir / "notify")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.sock.setblocking(False)
        self.seen = []

    def read(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                self.seen.append(self.sock.recv(4096).decode())
        return self.seen

    def wait(self, line, since=0):
        def probe():
            return next((i for i, text in enumerate(self.read()) if i >= since and line in text.split("\n")), -1) + 1

        return wait_for(probe, f"{line} to be told, among {self.seen}")


class Stuck:
    """A node with two managers, of which the first can be made to stand still."""

    def __init__(self, world, **more):
        self.until = world.dir / "go-on"
        config = json.loads(json.dumps({"until": str(self.until)}))
        client = {"name": "stuck", "plugin": "stuck_client", "config": config}
        managers = [manager("first", clients=[client]), manager("second")]
        for one in managers:
            one["timers"] = {"ending_ms": 100}
        self.node = lonely(world, managers, **more)

    def block(self):
        """Returns once the manager's thread is held up."""
        self.asker = subprocess.Popen(
            [self.node.tool, "--socket", self.node.socket, "--manager", "first", "client", "stuck", "block",
             "--timeout", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.node.world.processes.append(self.asker)
        wait_for(lambda: "manager-silent" in self.node.log(), "the silence to be noticed", 20)

    def release(self):
        self.until.touch()
        wait_for(lambda: "manager-answers" in self.node.log(), "its return to be noticed", 20)


# ---- command line and exit status


@test
def what_it_prints_when_asked(world):
    code, out = code_of("--version")
    check(code == 0 and re.fullmatch(r"carrickd \d+\.\d+\.\d+\S*\n", out), out)
    code, out = code_of("--help")
    for word in ("--config", "--node", "--log-level", "--check", "--version", "SIGHUP", "Exit:"):
        check(code == 0 and word in out, f"{word} is not in:\n{out}")


@test
def wrong_usage(world):
    node = lonely(world)
    cases = [
        (["--no-such-option"], "--help"),
        (["--config"], "--help"),
        (["--log-level", "loud"], "notice"),
        (["surplus"], "surplus"),
        (["--config", node.config_path, "--node", "gamma"], '"alpha" and "beta"'),
        (["--config", node.config_path], "--node"),  # this machine is called neither alpha nor beta
    ]
    for words, part in cases:
        code, out = code_of(*words)
        check(code == 2 and part in out, f"{words}: exit {code}: {out}")


@test
def check_says_whether_all_is_well_and_starts_nothing(world):
    node = lonely(world)
    code, out = code_of("--config", node.config_path, "--node", "alpha", "--check")
    check(code == 0 and "good" in out, f"exit {code}: {out}")
    check(not node.socket.exists(), "it made its socket")
    node.config["managers"][0]["links"][1]["nodes"]["beta"]["port"] = 0
    node.config["managers"][0]["policy"]["plugin"] = "no_such_policy"
    node.write_config()
    code, out = code_of("--config", node.config_path, "--node", "alpha", "--check")
    check(code == 3, f"exit {code}: {out}")
    for part in (f"{node.config_path}:", "/managers/0/links/1/nodes/beta/port", "no_such_policy.so"):
        check(part in out, f"{part} is not in:\n{out}")
    code, out = code_of("--config", world.dir / "none.json", "--node", "alpha")
    check(code == 3 and "none.json" in out, f"exit {code}: {out}")


@test
def key_file_that_others_can_read(world):
    node = lonely(world)
    world.key.chmod(0o640)
    code, out = code_of("--config", node.config_path, "--node", "alpha")
    check(code == 3 and "chmod 600" in out and "/key_file" in out and str(world.key) in out, f"exit {code}: {out}")
    world.key.unlink()
    code, out = code_of("--config", node.config_path, "--node", "alpha")
    check(code == 3 and "/dev/urandom" in out, f"exit {code}: {out}")


@test
def socket_that_cannot_be_made(world):
    node = lonely(world, control={"socket": str(world.dir / "not/there/%n.sock")})
    code, out = code_of("--config", node.config_path, "--node", "alpha")
    check(code == 1 and "not/there" in out, f"exit {code}: {out}")
    node.config["control"] = {"socket": str(world.dir / "%n.sock"), "group": "no-such-group"}
    node.write_config()
    code, out = code_of("--config", node.config_path, "--node", "alpha")
    check(code == 3 and "no-such-group" in out and "groupadd" in out, f"exit {code}: {out}")


@test
def second_daemon_has_an_exit_status_of_its_own(world):
    node = launch(lonely(world))
    code, out = code_of("--config", node.config_path, "--node", "alpha")
    check(code == 4 and str(node.process.pid) in out, f"exit {code}: {out}")
    check(node.stop() == 0, "the first did not end well")


@test
def descriptors_are_as_many_as_allowed(world):
    def limited():
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), min(4096, hard)))

    node = launch(lonely(world), preexec_fn=limited)
    soft, hard = resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE)
    check(soft == hard, f"{soft} of {hard}")


# ---- the service manager


@test
def service_manager_is_told(world):
    notices = Notices(world)
    node = launch(lonely(world), env={"NOTIFY_SOCKET": notices.path})
    started = notices.wait("READY=1")
    check("STATUS=" in notices.seen[started - 1], f"{notices.seen}")
    node.signal(signal.SIGHUP)
    reloading = notices.wait("RELOADING=1", started)
    check("MONOTONIC_USEC=" in notices.seen[reloading - 1], f"{notices.seen}")
    notices.wait("READY=1", reloading)
    node.signal(signal.SIGTERM)
    notices.wait("STOPPING=1", reloading)
    check(node.wait_exit() == 0, "exit status")
    check(not any("WATCHDOG" in text for text in notices.read()), "fed a watchdog that there is not")


@test
def refused_reload_is_no_reload(world):
    notices = Notices(world)
    node = launch(lonely(world), env={"NOTIFY_SOCKET": notices.path})
    node.config["cluster"] = "another"
    node.write_config()
    node.signal(signal.SIGHUP)
    wait_for(lambda: "stays" in node.log(), "the refusal")
    node.wait_log("/cluster")
    check(not any("RELOADING" in text for text in notices.read()), f"{notices.seen}")


@test
def watchdog_is_fed_only_while_every_manager_lives(world):
    notices = Notices(world)
    stuck = Stuck(world)
    launch(stuck.node, env={"NOTIFY_SOCKET": notices.path, "WATCHDOG_USEC": "200000"})

    def fed():
        return sum("WATCHDOG=1" in text for text in notices.read())

    wait_for(lambda: fed() >= 3, "the watchdog to be fed")
    stuck.block()
    before = fed()

    def told():  # which takes the time of many feedings
        first, second = stuck.node.status()["managers"]
        check(first["name"] == "first" and first["status"] == "timeout" and first["silent_ms"] > 1000, f"{first}")
        return second["name"] == "second" and "session" in second  # it may be late, too, on a busy machine

    wait_for(told, "the second manager to answer", 30)
    check(fed() == before, "it is fed while a manager stands still")
    stuck.release()
    wait_for(lambda: fed() > before, "the watchdog to be fed again")
    check(stuck.node.stop() == 0, "exit status")


# ---- a manager that stands still


@test
def other_manager_goes_on(world):
    stuck = Stuck(world)
    launch(stuck.node)
    stuck.block()
    links = json.loads(stuck.node.cli("links", "--manager", "second", "--json"))
    check(links, f"{links}")
    code, out = stuck.node.cli_code("link", "down", "left", "--manager", "first", "--timeout", "20")
    check(code == 1 and "first did not answer" in out, f"{code}: {out}")
    stuck.release()
    check(stuck.node.stop() == 0, "exit status")


@test
def stop_has_a_deadline(world):
    stuck = Stuck(world)
    launch(stuck.node)
    stuck.block()
    stuck.node.signal(signal.SIGTERM)
    stuck.node.wait_log("stopping")
    stuck.node.signal(signal.SIGTERM)  # hurries
    code = stuck.node.wait_exit(20)
    check(code == 5, f"exit status {code}")
    check("stop-late" in stuck.node.log() and "first" in stuck.node.log(), stuck.node.log_tail())
    check(not stuck.node.socket.exists(), "the socket is left behind")


# ---- the log


@test
def log_on_a_terminal_has_colours_and_in_a_file_none(world):
    node = lonely(world)
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    launch(node, stderr=theirs)
    os.close(theirs)
    text = b""

    def started():
        nonlocal text
        with contextlib.suppress(BlockingIOError):
            text += os.read(ours, 65536)
        return b"started" in text

    wait_for(started, "the first lines")
    check(b"\033[1mnotice" in text, repr(text))
    node.stop()
    os.close(ours)
    launch(node)
    wait_for(lambda: re.search(r"^\d{4}-\d\d-\d\dT[\d:.]+Z notice  started: ", node.log(), re.M), "the first line in a file")
    check("\033" not in node.log(), node.log_tail())


@test
def log_level_is_as_said_and_changes_with_a_reload(world):
    node = lonely(world, log={"level": "warning"})
    launch(node)
    check("started" not in node.log(), node.log_tail())
    node.config["log"] = {"level": "notice"}
    node.write_config()
    node.cli("reload")
    wait_for(lambda: "reloaded" in node.log(), "a line of the new level")
    check(node.status()["log_level"] == "notice", f"{node.status()['log_level']}")
    node.stop()
    launch(node, "--log-level", "error")
    node.cli("reload")
    check(node.status()["log_level"] == "error", "the command line goes before the file")


@test
def changes_are_logged_with_who_asked(world):
    node = launch(lonely(world))
    node.cli("link", "down", "left")
    wait_for(lambda: re.search(rf'command: link-down {{"link":"left"}} by user {os.getuid()}, process \d+', node.log()),
             "the line")
    node.cli("status", "--json") if node.up() else node.cli_code("status")
    check("command: status" not in node.log(), "reading is no change")


# ---- metrics


def get(port, path="/metrics", accept="*/*"):
    request = urllib.request.Request(f"http://{LOOPBACK}:{port}{path}", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def parse(text):
    """Checks the exposition as a scraper would; returns {family: {labels: value}}."""
    families, current = {}, None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            current = line.split()[2]
            check(current not in families, f"{current} comes twice")
            families[current] = {}
        elif line.startswith("# TYPE "):
            check(line.split()[2] == current and line.split()[3] in ("gauge", "counter"), line)
        elif line != "# EOF":
            found = re.fullmatch(r'([a-zA-Z_][a-zA-Z0-9_]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*",?)+\})? (\S+)', line)
            check(found, f"not a sample: {line}")
            check(found[1] in (current, current + "_total"), f"{line} is not of {current}")
            check(found[2] not in families[current], f"{line} comes twice")
            families[current][found[2]] = float(found[3])
    return families


@test
def metrics_of_all_managers(world):
    port = free_port()
    node = launch(lonely(world, [manager("first"), manager("second")], metrics={"listen": {"alpha": f"{LOOPBACK}:{port}"}}))
    kind, text = get(port)
    check(kind.startswith("text/plain; version=0.0.4"), kind)
    families = parse(text)
    check(families["carrick_build_info"], "what runs here")
    check(any("process_resident_memory_bytes" == name for name in families), "the process")
    for name in ("first", "second"):
        check(any(f'manager="{name}"' in (labels or "") for family in families.values() for labels in family),
              f"nothing of {name}:\n{text}")
    kind, text = get(port, accept="application/openmetrics-text")
    check(kind.startswith("application/openmetrics-text") and text.endswith("# EOF\n"), kind)
    parse(text)
    with contextlib.suppress(urllib.error.HTTPError):
        get(port, "/")
        check(False, "/ is served")
    check(node.stop() == 0, "exit status")


@test
def metrics_when_a_manager_stands_still(world):
    port = free_port()
    stuck = Stuck(world, metrics={"listen": {"alpha": f"{LOOPBACK}:{port}"}})
    launch(stuck.node)
    get(port)
    stuck.block()
    try:
        get(port)
        check(False, "served while a manager stands still")
    except urllib.error.HTTPError as error:
        check(error.code == 503, f"{error.code}")
    stuck.release()
    wait_for(lambda: get(port), "metrics to be served again")


@test
def metrics_port_that_is_taken(world):
    with contextlib.closing(socket.socket()) as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        node = launch(lonely(world, metrics={"listen": {"alpha": f"{LOOPBACK}:{port}"}}))
        wait_for(lambda: "metrics-failed" in node.log() and str(port) in node.log(), "it to be said")
        check(node.cli("version"), "the daemon goes on")


if __name__ == "__main__":
    main()
