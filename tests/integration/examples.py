#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The configurations that users begin with: each is good as it stands, and the one for one machine makes a pair."""
import json
import pathlib
import re
import shutil
import tempfile

from lib import BUILD, LOOPBACK, TOP, Skip, check, free_port, main, run, test, wait_for

CONFIGS = sorted((TOP / "examples/config").glob("*.json"))


def plugins_of(config):
    return set(re.findall(r'"plugin": *"(\w+)"', config))


def with_plugins(world, text):
    """As it stands, but for where the plugins are, and echo, which is built from its own directory."""
    return text.replace("{", '{ "plugin_dirs": ' + json.dumps(world.config()["plugin_dirs"]) + ",", 1)


def check_one(world, path):
    text = path.read_text()
    missing = {name for name in plugins_of(text) if name == "etcd" and not (BUILD / "plugins/etcd.so").exists()}
    if missing:
        raise Skip(f"needs the plugin {missing.pop()}, which was not built")
    copy = world.dir / path.name
    copy.write_text(with_plugins(world, text))
    for node in ("alpha", "beta"):
        out = run(BUILD / "bin/carrick", "config", "check", copy, "--node", node)
        check("good" in out and "would be left out" not in out, f"{path.name}: {out}")


@test
def each_is_good(world):
    there = [path for path in CONFIGS if path.name != "pair-etcd.json"]
    check({"one-machine.json", "pair.json"} <= {path.name for path in there}, f"only {there}")
    for path in there:
        check_one(world, path)


@test
def the_one_with_etcd_is_good(world):
    check_one(world, TOP / "examples/config/pair-etcd.json")


@test
def each_is_in_the_table(_world):
    directory = TOP / "examples/config"
    table = (directory / "README.md").read_text()
    for path in directory.glob("*.json"):
        check(f"({path.name})" in table, f"{path.name} is not in README.md")


@test
def the_one_for_one_machine_makes_a_pair(world):
    text = (TOP / "examples/config/one-machine.json").read_text()
    for place in ("/var/lib/carrick", "/run/carrick", "/etc/carrick"):
        (world.dir / place[1:]).mkdir(parents=True, exist_ok=True)
        text = text.replace(place, f"{world.dir}{place}")
    memory = tempfile.mkdtemp(prefix="carrick-", dir="/dev/shm")
    world.cleanups.append(lambda: shutil.rmtree(memory, ignore_errors=True))
    text = text.replace('"/dev/shm/', f'"{memory}/')
    text = re.sub(r'"address": "127\.0\.0\.1", "port": \d+',
                  lambda _match: f'"address": "{LOOPBACK}", "port": {free_port()}', text)
    text = re.sub(r'127\.0\.0\.1:\d+', lambda _match: f"{LOOPBACK}:{free_port()}", text)
    text = re.sub(r'"(bytes|log_bytes)": \d+', r'"\1": 16777216', text)
    config = json.loads(with_plugins(world, text))
    (world.dir / "var/lib/carrick/mailbox").mkdir()
    key = pathlib.Path(config["key_file"])
    key.write_bytes(world.key.read_bytes())
    key.chmod(0o600)
    nodes = [world.node(name, config) for name in ("alpha", "beta")]
    for node in nodes:
        node.socket = pathlib.Path(config["control"]["socket"].replace("%n", node.name))
        node.start()

    def states():
        found = [node.ask("client", client="failover", word="status")["groups"] for node in nodes]
        return [group["state"] for groups in found for group in groups]

    wait_for(lambda: states() == ["protected"] * 4, "both groups to be protected on both nodes", 20)
    for node in nodes:
        check(node.stop() == 0, f"{node.name} did not stop cleanly")


if __name__ == "__main__":
    main()
