#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The control socket and the command: what they show, how they refuse, and what abuse does to them (nothing)."""
import contextlib
import json
import os
import re
import socket
import subprocess

from lib import BUILD, CALM, ECHO, PATIENCE, TOP, CommandError, Skip, check, main, manager, run, test, wait_for


def dial(node):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(10 * PATIENCE)
    sock.connect(str(node.socket))
    return sock


def ask(node, text):
    """Sends bytes as they are; returns what comes until a newline or the end."""
    with dial(node) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(text)
        data = b""
        with contextlib.suppress(OSError):
            while not data.endswith(b"\n") and (chunk := sock.recv(65536)):
                data += chunk
    return data


def lonely(world, **more):
    """One node without a partner: enough for its control socket."""
    node = world.node("alpha", world.config([manager(clients=[ECHO])], **more))
    return node.start(follow=False)


@test
def every_command_has_a_form_for_people_and_one_for_programs(world):
    alpha, _ = world.pair([manager(clients=[ECHO], timers=CALM)])
    for words in (["status"], ["links"], ["clients"], ["vis"], ["plugins"], ["stats"], ["version"]):
        text = alpha.cli(*words)
        value = json.loads(alpha.cli(*words, "--json"))
        check(text.strip() and value, f"{words}: {text!r} {value!r}")
        check("\033" not in text, f"{words}: colours where there is no terminal")
    check({p["name"] for p in json.loads(alpha.cli("plugins", "--json"))} >= {"tcp", "round_robin", "echo"}, "plugins")
    check(alpha.cli("links", "--names").split() == ["left", "right"], "names of links")
    check(alpha.cli("clients", "--names").split() == ["echo"], "names of clients")
    reply = json.loads(alpha.cli("client", "echo", "ping", "--json"))
    check(reply["right"] is True and reply["round_trip_us"] > 0, f"{reply}")
    out = alpha.cli("status")
    for word in ("OK", "alpha", "beta", "store1", "main", "left", "right", "echo", "round_robin"):
        check(word in out, f"status does not show {word}:\n{out}")
    check(len(out.splitlines()) <= 24 and max(map(len, out.splitlines())) <= 140, f"more than a screen:\n{out}")


@test
def what_is_wrong_is_said_with_what_to_do(world):
    alpha = lonely(world)
    wanted = [
        (["link", "down", "lfet"], 1, ["lfet", "left", "right"]),
        (["client", "ehco", "ping"], 1, ["ehco", "echo"]),
        (["client", "echo", "sing"], 1, ["does not know", "ping", "stats", "reset"]),
        (["client", "echo", "ping"], 1, ["session"]),
        (["session", "reset", "--manager", "mian"], 1, ["mian", "main"]),
        (["client", "echo", "ping", "{'a':1}"], 2, ["JSON"]),
        (["stauts"], 2, ["did you mean", "status"]),
        (["link", "left"], 2, ["link down", "link up"]),
        (["link", "down"], 2, ["NAME"]),
        (["status", "now"], 2, ["usage"]),
        (["links", "--why", "x"], 2, ["--why"]),
        (["--no-such-option"], 2, ["--help"]),
    ]
    for words, code, parts in wanted:
        got, out = alpha.cli_code(*words)
        check(got == code, f"{words}: exit {got}, not {code}: {out}")
        for part in parts:
            check(part in out, f"{words}: '{part}' is not in: {out}")
    answer = json.loads(alpha.cli_code("link", "down", "lfet", "--json")[1])
    check(answer["ok"] is False and answer["status"] == "not-found" and "lfet" in answer["text"], f"{answer}")


@test
def a_daemon_that_is_not_there(world):
    tool = BUILD / "bin/carrick"
    missing = world.dir / "nobody.sock"
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(world.dir / "dead.sock"))
    config = world.config()
    (world.dir / "c.json").write_text(json.dumps(config))
    cases = [
        (["--socket", missing], 3, "is carrickd running"),
        (["--socket", world.dir / "dead.sock"], 3, "has died"),
        (["--config", world.dir / "c.json", "--node", "beta"], 3, "beta.sock"),
        (["--config", world.dir / "c.json", "--node", "gamma"], 2, "'alpha' and 'beta'"),
        (["--config", world.dir / "none.json"], 2, "none.json"),
        (["--socket", "/" + "x" * 200], 2, "longer"),
    ]
    for words, code, part in cases:
        try:
            run(tool, *words, "status", env=world.environment())
            got, out = 0, ""
        except CommandError as error:
            got, out = error.code, error.output
        check(got == code and part in out, f"{words}: exit {got}: {out}")


@test
def the_socket_is_found_by_configuration_and_environment(world):
    alpha = lonely(world)
    tool = BUILD / "bin/carrick"
    env = world.environment()
    for words, more in (
        (["--config", str(alpha.config_path), "--node", "alpha"], {}),
        ([], {"CARRICK_SOCKET": str(alpha.socket)}),
    ):
        out = json.loads(subprocess.run(
            [tool, *words, "status", "--json"], env={**env, **more}, stdout=subprocess.PIPE, check=False).stdout)
        check(out["node"] == "alpha", f"{words} {more}: {out}")


@test
def abuse_of_the_socket(world):
    alpha = lonely(world)
    refused = [
        b"\n", b"hello\n", b"{}\n", b"[]\n", b"null\n", b'{"command":1}\n', b'{"command":"no-such"}\n',
        b'{"command":"link-down"}\n', b'{"command":"link-down","args":[]}\n', b'{"command":"link-down","args":{"link":7}}\n',
        b'{"command":"status","manager":7}\n', b'{"command":"status"} x\n', b"{'command':'status'}\n",
        b'{"command":"client","args":{"client":"echo","word":7}}\n', b'{"command":"client","args":{"client":{}}}\n',
        b"\xff\xfe\x00\x01\n", b'{"command":"' + b"\\u0000" * 50 + b'"}\n', b"[" * 5000 + b"\n", b"x" * 200000 + b"\n",
        b'{"command":"status","args":' + b'{"a":' * 100 + b"1" + b"}" * 100 + b"}\n",
    ]
    for text in refused:
        answer = ask(alpha, text)
        if not answer:
            continue  # an empty line may be passed over, and an oversized one cut off
        check(json.loads(answer)["ok"] is False, f"{text[:60]!r}: {answer[:200]!r}")
    answered = sum(1 for text in refused if ask(alpha, text))
    check(answered >= len(refused) - 2, f"only {answered} of {len(refused)} were answered")
    # One connection may ask many things, in one write; answers keep the order.
    with dial(alpha) as sock:
        sock.sendall(b'{"command":"version"}\n{"command":"no-such"}\n{"command":"status"}\n')
        lines = sock.makefile()
        answers = [json.loads(lines.readline()) for _ in range(3)]
    check([a["ok"] for a in answers] == [True, False, True], f"{answers}")
    # In two pieces, and without its newline at the end.
    with dial(alpha) as sock:
        sock.sendall(b'{"comm')
        sock.sendall(b'and":"version"}\n')
        check(json.loads(sock.makefile().readline())["ok"], "a request in two pieces")
    check(alpha.cli_code("status")[1].startswith("DOWN"), "the daemon goes on")


@test
def many_connections_are_bounded_and_released(world):
    alpha = lonely(world)
    crowd = []
    refused = 0
    for _ in range(200):
        sock = dial(alpha)
        with contextlib.suppress(OSError):
            sock.sendall(b'{"command":"version"}\n')
            refused += b'"ok":false' in sock.recv(4096)
        crowd.append(sock)
    check(refused > 0, "200 connections at once are all served")
    for sock in crowd:
        sock.close()
    wait_for(lambda: alpha.cli("version"), "the daemon to take connections again")


@test
def a_follower_that_does_not_read(world):
    """Events for one who does not read them cost bounded memory, and hold up nobody."""
    alpha, _ = world.pair([manager(clients=[ECHO])])
    with dial(alpha) as sock:
        sock.sendall(b'{"command":"events"}\n')
        for _ in range(30):
            session, mark = alpha.session()["id"], alpha.mark()
            alpha.cli("session", "reset")
            wait_for(lambda session=session: alpha.up() and alpha.session()["id"] != session, "a new session")
    alpha.wait_event("session-up", mark)


@test
def events_are_followed(world):
    alpha, _ = world.pair()
    mark = alpha.mark()
    alpha.cli("link", "down", "left")
    alpha.wait_event("link-down", mark, object="left")
    alpha.cli("link", "up", "left")
    event = alpha.wait_event("link-up", mark, object="left")
    for member in ("time", "time_ms", "level", "manager", "text"):
        check(event.get(member), f"{member} is missing: {event}")
    follower = subprocess.Popen(
        [alpha.tool, "--socket", alpha.socket, "events", "--count", "20"], stdout=subprocess.PIPE, text=True)
    world.processes.append(follower)
    # The follower is there once events reach it; until then cause some. Of so many some are of the session.
    def stir():
        alpha.cli("session", "reset")
        return follower.poll() is not None

    wait_for(stir, "twenty events to be followed", 30)
    out = follower.stdout.read()
    check(follower.returncode == 0 and len(out.splitlines()) == 20 and "session" in out, out)


@test
def steps_in_between_are_shown_on_request(world):
    alpha = lonely(world)  # whose links are tried again and again
    said = run(alpha.tool, "--socket", alpha.socket, "events", "--all", "--count", "10")
    check("link-state" in said, said)
    plain = subprocess.Popen(
        [alpha.tool, "--socket", alpha.socket, "events", "--count", "4"], stdout=subprocess.PIPE, text=True)
    world.processes.append(plain)

    def stir():
        alpha.cli("link", "down", "left")
        alpha.cli("link", "up", "left")
        return plain.poll() is not None

    wait_for(stir, "four events", 20)
    out = plain.stdout.read()
    check("link-state" not in out and len(out.splitlines()) == 4, out)


@test
def watching_goes_on_while_the_daemon_is_away(world):
    alpha = lonely(world)
    watcher = subprocess.Popen(
        [alpha.tool, "--socket", alpha.socket, "status", "--watch", "0.05"],
        stdout=open(world.dir / "watched", "wb"), stderr=subprocess.DEVNULL)
    world.processes.append(watcher)
    seen = world.dir / "watched"

    def shows(words, since=0):
        return words in seen.read_bytes().decode(errors="replace")[since:]

    wait_for(lambda: shows("running for"), "the first screen")
    alpha.stop()
    wait_for(lambda: shows("cannot be reached"), "the absence to be shown")
    size = len(seen.read_bytes().decode(errors="replace"))
    alpha.start(follow=False)
    wait_for(lambda: shows("running for", size), "the return to be shown")
    check(watcher.poll() is None, "the watcher has ended")


@test
def who_may_use_the_socket(world):
    alpha = lonely(world)
    check(alpha.socket.stat().st_mode & 0o777 == 0o600, f"mode {oct(alpha.socket.stat().st_mode)}")
    if os.geteuid() != 0:
        raise Skip("needs root, to be somebody else")
    world.dir.chmod(0o755)
    try:
        run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", alpha.tool, "--socket", alpha.socket,
            "status")
        check(False, "nobody may read the status")
    except CommandError as error:
        if "Permission denied" in error.output and "carrick:" not in error.output:
            raise Skip("the build cannot be reached by others") from None
        check(error.code == 3 and "no permission" in error.output, f"{error.code} {error.output}")


@test
def a_second_daemon_of_the_same_node_is_refused(world):
    alpha = lonely(world)
    second = world.node("alpha", alpha.config)
    second.log_path = world.dir / "second.log"
    with open(second.log_path, "wb") as log:
        process = subprocess.Popen(
            [second.binary, "--config", second.config_path, "--node", "alpha"], stdout=log, stderr=log)
    world.processes.append(process)
    check(wait_for(lambda: process.poll() is not None, "the second to end") and process.returncode > 0, "exit status")
    check(str(alpha.process.pid) in second.log(), f"it does not say who has the socket:\n{second.log_tail()}")
    check(alpha.cli("version"), "the first goes on")


@test
def a_socket_left_behind_is_taken_over(world):
    alpha = lonely(world)
    alpha.kill()
    check(alpha.socket.exists(), "a killed daemon leaves its socket")
    with open(alpha.log_path, "ab") as log:
        alpha.process = subprocess.Popen(
            [alpha.binary, "--config", alpha.config_path, "--node", "alpha"], stdout=log, stderr=log)
    world.processes.append(alpha.process)
    wait_for(alpha.answers, "the next daemon to answer")


def complete(world, *words):
    """What bash would offer for the last word."""
    script = f"""
        source {TOP}/cli/carrick.bash
        COMP_WORDS=({' '.join("'" + w + "'" for w in words)}); COMP_CWORD={len(words) - 1}
        _carrick; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return run("bash", "-c", script, env=world.environment()).split()


@test
def completion_knows_commands_and_names(world):
    alpha = lonely(world)
    tool = str(BUILD / "bin/carrick")
    check(complete(world, tool, "st") == ["status", "stats"], f"{complete(world, tool, 'st')}")
    check(complete(world, tool, "link", "") == ["down", "up"], "words of link")
    there = [tool, "--socket", str(alpha.socket)]
    # Whoever presses the key waits half a second at most; on a slow machine he presses it again.
    wait_for(lambda: complete(world, *there, "link", "down", "") == ["left", "right"], "names of links")
    wait_for(lambda: complete(world, *there, "link", "down", "l") == ["left"], "names that begin so")
    wait_for(lambda: complete(world, *there, "client", "e") == ["echo"], "names of clients")
    for words in re.findall(r"^  ([a-z-]+)", run(tool, "--help").split("options:")[0], re.M):
        check(words in complete(world, tool, words[:2]), f"{words} is a command that is not completed")
    check("--watch" in complete(world, tool, "status", "--"), "options")
    check(complete(world, tool, "--socket", "/nowhere", "link", "down", "") == [], "no daemon, no names")


@test
def help_for_every_command(world):
    tool = BUILD / "bin/carrick"
    overview = run(tool, "--help")
    for words in ("status", "links", "clients", "vis", "plugins", "stats", "events", "config check", "plugin inspect",
                  "session reset", "link down", "link up", "client", "failover", "takeover", "handover", "giveback",
                  "doctor", "boot-stage", "reload", "version"):
        check(words in overview, f"{words} is not in the overview")
        text = run(tool, *words.split(), "--help")
        check(f"carrick {words}" in text and "--json" in text, text)
        check(text == run(tool, "help", *words.split()), f"help {words}")
        manual = (TOP / "man/carrick.1").read_text()
        check(f".It Ic {words}" in manual, f"{words} is not in the manual")


if __name__ == "__main__":
    main()
