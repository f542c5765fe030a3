#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mistakes that operators make: each is told with its place and what to do, by the command and by the daemon alike."""
import json
import pathlib

from lib import BUILD, ECHO, CommandError, check, loopback_link, main, manager, run, test, wait_for


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
    check(code == 0 and json.loads(out) == {"file": str(path), "ok": True, "errors": [], "notes": []}, out)
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
    alpha.wait_log("no_such")
    path = alpha.config_path
    code, out = tool("config", "check", path)
    check(code == 0 and "note" in out and "extra" in out, out)


def storage(place, mailbox):
    clients = [
        {"name": "nvram", "plugin": "nvram_shadow", "config": {"groups": [
            {"name": "g1", "home": "alpha", "log_bytes": 4 << 20, "backing": "file", "path": f"{place}/%n/g1.log",
             "level": "persistent"}]}},
        {"name": "shelf", "plugin": "shelf", "config": {"socket": f"{place}/%n/block", "shelves": [
            {"name": "disk1", "group": "g1", "path": f"{place}/%n/disks/disk1.img", "bytes": 1 << 20}]}},
        {"name": "failover", "plugin": "failover", "config": {}},
    ]
    return [manager(clients=clients, arbiter={"plugin": "mailbox", "config": {"directory": str(mailbox)}})]


@test
def groups_that_nobody_serves_are_told(world):
    """The session is up, and nothing else: each client says what the configuration lacks."""
    def without(clients, plugin):
        return [client for client in clients if client["plugin"] != plugin]

    def apart(clients, plugin):
        return [{**client, **({"isolation": "process"} if client["plugin"] == plugin else {})} for client in clients]

    def strange(clients):
        return json.loads(json.dumps(clients).replace('"group": "g1"', '"group": "g9"'))

    beside = "runs in the process of this one"
    for number, (change, said, place, note) in enumerate((
        (lambda clients: clients, None, None, None),
        (lambda clients: without(clients, "failover"), "client nvram: group g1: nobody decides",
         '"plugin": "nvram_shadow"', f"failover {beside}"),
        (lambda clients: without(clients, "shelf"), "client nvram: group g1: no shelf takes",
         '"plugin": "nvram_shadow"', f"shelf {beside}"),
        (lambda clients: without(clients, "nvram_shadow"), "client shelf: no shelf is served: there is no log",
         '"plugin": "shelf"', f"nvram_shadow {beside}"),
        (lambda clients: apart(clients, "failover"), "client nvram: group g1: nobody decides",
         '"plugin": "failover"', f"nvram_shadow {beside}"),
        (lambda clients: apart(clients, "nvram_shadow"), "client nvram: group g1: nobody decides",
         '"plugin": "shelf"', f"nvram_shadow {beside}"),
        (strange, "client nvram: group g1: no shelf takes", '"group": "g9"', "nvram_shadow \"g9\""),
    )):
        store = world.dir / f"store{number}"
        for name in ("letters", "alpha/disks", "beta/disks"):
            (store / name).mkdir(parents=True)
        one = storage(store, store / "letters")[0]
        one["clients"] = change(one["clients"])
        nodes = world.pair([one])
        path = nodes[0].config_path
        code, out = tool("config", "check", path)
        if said is None:
            check(code == 0 and "note" not in out, out)
        else:
            line = line_of(path.read_text(), place)
            check(code == 0 and any(one.startswith(f"note: {path}:{line}:") and note in one for one in out.split("\n")), out)
        for node in nodes:
            if said is None:
                wait_for(lambda: node.cli_code("status")[0] == 0, "all well")
                continue
            wait_for(lambda: said in node.cli_code("status")[1].split("\n")[0], f"{node.name} to say '{said}'")
            code, out = node.cli_code("status")
            check(code != 0 and out.startswith("DEGRADED"), out)
        for node in nodes:
            node.stop()


@test
def a_home_that_is_neither_node_is_told_as_the_daemon_tells_it(world):
    """Else the check calls a file good with which the daemon does not start."""
    clients = json.loads(json.dumps(storage(world.dir, world.dir)).replace('"home": "alpha"', '"home": "gamma"'))
    node = world.node("alpha", world.config(clients))
    (world.dir / "alpha/disks").mkdir(parents=True)
    code, out = tool("config", "check", node.config_path)
    line = line_of(node.config_path.read_text(), '"gamma"')
    check(code == 1 and f"{node.config_path}:{line}:" in out and '"gamma" is neither' in out, out)
    node.start(follow=False, wait=False)
    check(node.wait_exit() == 1 and '"gamma" is neither' in node.log(), node.log())
    clients[0]["clients"][0]["required"] = False
    node.config_path.write_text(json.dumps(world.config(clients), indent=2))
    code, out = tool("config", "check", node.config_path)
    check(code == 0, out)


@test
def directories_that_are_not_there_are_told(world):
    """Each once, with who wants it and how it is made: by the check beforehand, and by the daemon that does not start."""
    place, mailbox = world.dir / "store", world.dir / "letters"
    node = world.node("alpha", world.config(storage(place, mailbox)))
    code, out = tool("config", "check", node.config_path, "--node", "alpha")
    check(code == 0 and "good" in out, out)
    for who, directory in (("arbiter mailbox", mailbox), ("client nvram", place / "alpha"),
                           ("client shelf", place / "alpha/disks")):
        check(f"note: {who}: there is no directory {directory} on this node" in out, out)
        check(f"mkdir -p {directory}" in out, out)
    notes = json.loads(tool("config", "check", node.config_path, "--node", "beta", "--json")[1])["notes"]
    check(len(notes) >= 3 and all("alpha" not in note for note in notes), f"{notes}")
    check("note" not in tool("config", "check", node.config_path)[1], "told of a node that this machine is not")
    mailbox.mkdir()
    for made, who, missing in ((world.dir, "client nvram", place / "alpha"),
                               (place / "alpha", "client shelf", place / "alpha/disks")):
        made.mkdir(parents=True, exist_ok=True)
        node.start(follow=False, wait=False)
        check(node.wait_exit() > 0, "it started")
        log = node.log()
        check(f"{who}:" in log and f"there is no directory {missing} for " in log and f"mkdir -p {missing}" in log, log)
    (place / "alpha/disks").mkdir()
    code, out = tool("config", "check", node.config_path, "--node", "alpha")
    check(code == 0 and "note" not in out, out)


@test
def a_partner_that_does_not_listen_is_told_from_one_that_is_not_there(world):
    one = manager(clients=[ECHO])
    node = world.node("alpha", world.config([one]))
    node.start()
    wait_for(lambda: "beta answers, but nothing listens there" in node.link("left")["cause"], "the cause of the link")
    check("refused" in node.cli_code("status")[1], "status does not say it")


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
    code, out = tool("plugin", "inspect", "tcpp")
    check(code == 1 and "no plugin of that name" in out and "/tcpp.so" in out, out)


if __name__ == "__main__":
    main()
