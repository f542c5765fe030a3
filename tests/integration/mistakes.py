#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mistakes that operators make: each is told with its place and what to do, by the command and by the daemon alike."""
import json
import pathlib

from lib import BUILD, ECHO, CommandError, check, loopback_link, main, manager, run, test


def config_text(world):
    links = [loopback_link("left"), loopback_link("right")]
    return json.dumps(world.config([manager(links=links, clients=[ECHO], profile="fast")]), indent=2)


def tool(*words):
    try:
        return 0, run(BUILD / "bin/carrick", *words)
    except CommandError as error:
        return error.code, error.output


def line_of(text, part, nth=1):
    for number, line in enumerate(text.splitlines(), 1):
        if part in line:
            nth -= 1
            if nth == 0:
                return number
    raise AssertionError(part)


# What is replaced by what; what the message must hold beside file and line; on which occurrence it is told.
MISTAKES = [
    ('"cluster": "store1",', '"cluster": "store1"', ["','"], "next"),  # a comma is missing: seen on the next line
    ('"profile": "fast"', '"profile": "fast",,', [], 1),
    ('"profile": "fast"', '"profil": "fast"', ["profil", "profile"], 1),
    ('"profile": "fast"', '"profile": "quick"', ["quick", "fast", "normal", "wan"], 1),
    ('"cluster": "store1"', "'cluster': 'store1'", [], 1),
    ('"cluster": "store1"', '"cluster": 7', ["7", "name"], 1),
    ('"cluster": "store1"', '"cluster": "store 1"', ["store 1"], 1),
    ('"port": ', '"port": 1', [], 1),  # a digit too many: out of range
    ('"address": "', '"adress": "', ["adress", "address"], 1),
    ('"transport": "tcp"', '"transport": "tpc"', ["tpc"], 1),
    ('"transport": "tcp"', '"transport": "round_robin"', ["round_robin", "policy"], 1),
    ('"plugin": "round_robin"', '"plugin": "round_robbin"', ["round_robbin"], 1),
    ('"plugin": "round_robin"', '"config": {"wieght": 1}, "plugin": "round_robin"', ["wieght"], 1),
    ('"plugin": "echo"', '"plugin": "ecko"', ["ecko"], 1),
    ('"interval_ms": 1', '"interval_ms": -1', ["interval_ms"], 1),
    ('"interval_ms": 1', '"intervall": 1', ["intervall", "interval_ms"], 1),
    ('"name": "right"', '"name": "left"', ["left"], 2),
    ('"beta": {', '"gamma": {', ["gamma", "beta"], 1),
    ('"level": "debug"', '"level": "verbose"', ["verbose"], 1),
    ('"policy": {', '"policy": {"plugin": "round_robin"}, "policy": {', ["policy"], 1),
]


@test
def the_good_one_is_good(world):
    path = world.dir / "carrick.json"
    path.write_text(config_text(world))
    code, out = tool("config", "check", path)
    check(code == 0 and "good" in out, out)
    code, out = tool("config", "check", path, "--json")
    check(code == 0 and json.loads(out) == {"file": str(path), "ok": True, "errors": []}, out)
    code, out = tool("config", "check", path, "--node", "gamma")
    check(code == 2 and "alpha" in out, out)


@test
def each_mistake_has_its_place_and_remedy(world):
    good = config_text(world)
    path = world.dir / "carrick.json"
    wrong_places = []
    for old, new, words, nth in MISTAKES:
        text = good.replace(old, new, 1)
        check(text != good, f"nothing to replace: {old}")
        path.write_text(text)
        line = line_of(text, new, 1) + 1 if nth == "next" else line_of(text, new, nth)
        code, out = tool("config", "check", path)
        if code != 1 or f"{path}:{line}:" not in out or not all(word in out for word in words):
            wrong_places.append(f"{new!r} (line {line}, {words}): exit {code}: {out.strip()}")
    check(not wrong_places, "\n".join(wrong_places))


@test
def all_mistakes_are_told_at_once(world):
    text = config_text(world).replace('"fast"', '"quick"').replace('"transport": "tcp"', '"transport": "tpc"', 1)
    text = text.replace('"level": "debug"', '"level": "verbose"')
    path = world.dir / "carrick.json"
    path.write_text(text)
    code, out = tool("config", "check", path, "--json")
    report = json.loads(out)
    check(code == 1 and not report["ok"] and len(report["errors"]) >= 2, out)
    for error in report["errors"]:
        check(error["line"] >= 1 and error["column"] >= 1 and error["text"], f"{error}")


@test
def the_daemon_says_the_same_before_it_touches_anything(world):
    good = config_text(world)
    for old, new, words in (
        ('"profile": "fast"', '"profile": "quick"', ["quick"]),
        ('"transport": "tcp"', '"transport": "tpc"', ["tpc"]),
        ('"interval_ms": 1', '"interval_ms": -1', ["interval_ms"]),
    ):
        text = good.replace(old, new, 1)
        node = world.node("alpha", json.loads(good))
        node.config_path.write_text(text)
        node.start(follow=False, wait=False)
        code = node.wait_exit()
        log = node.log()
        check(code > 0, f"it ended with {code}")
        for word in [f"{node.config_path}:{line_of(text, new)}:", *words]:
            check(word in log, f"'{word}' is not in:\n{log}")
        check(not node.socket.exists(), "a socket was made")


@test
def a_plugin_that_is_not_required_may_be_missing(world):
    one = manager(clients=[{"name": "extra", "plugin": "no_such", "required": False}])
    alpha, beta = world.pair([one])
    check(alpha.up() and beta.up(), "up without it")
    check("no_such" in alpha.log(), "nothing is said of it")
    path = alpha.config_path
    code, out = tool("config", "check", path)
    check(code == 0 and "note" in out and "extra" in out, out)


@test
def plugin_files_are_inspected(world):
    echo = next(d for d in map(pathlib.Path, world.config()["plugin_dirs"]) if (d / "echo.so").exists())
    code, out = tool("plugin", "inspect", echo / "echo.so")
    check(code == 0 and "client" in out and "takes it" in out and "provide" in out, out)
    code, out = tool("plugin", "inspect", BUILD / "plugins/tcp.so", "--json")
    report = json.loads(out)
    check(code == 0 and report["kind"] == "transport" and report["taken"], out)
    junk = world.dir / "junk.so"
    junk.write_bytes(b"no shared object" * 100)
    for path, word in ((junk, "junk.so"), (world.dir / "none.so", "none.so"), ("/usr/lib/os-release", "os-release")):
        code, out = tool("plugin", "inspect", path)
        check(code == 1 and "refused" in out and word in out, out)


if __name__ == "__main__":
    main()
