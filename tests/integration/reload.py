#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reading the configuration again while running: what can change does, what cannot is refused as a whole."""
import json
import signal

from lib import CALM, ECHO, check, main, manager, test, wait_for


def up_pair(world):
    alpha, beta = world.pair([manager(clients=[ECHO], profile="fast", timers=CALM)])
    return alpha, beta, alpha.session()["id"]


def reload_refused(node, *words):
    code, out = node.cli_code("reload")
    check(code == 1, f"it was taken: {out}")
    for word in words:
        check(word in out, f"'{word}' is not in: {out}")


@test
def what_can_change_does_and_the_session_stays(world):
    alpha, beta, session = up_pair(world)
    one = alpha.config["managers"][0]
    one["clients"][0]["config"] = {"interval_ms": 0}
    one["policy"] = {"plugin": "least_inflight"}
    one["timers"] = {**CALM, "probe_ms": 30, "link_dead_ms": 4000}
    one["overstay_us"] = 5000
    alpha.config["log"]["level"] = "notice"
    alpha.write_config()
    alpha.cli("reload")
    wait_for(lambda: alpha.manager_status()["policy"] == "least_inflight", "the policy to change")

    def quiet():
        sent = alpha.echo()["sent"]
        alpha.cli("links")
        return sent == alpha.echo()["sent"]

    wait_for(quiet, "the echo client to take its new section")
    check(alpha.session()["id"] == session == beta.session()["id"], "the session did not stay")
    check(beta.echo()["lost"] == 0, f"{beta.echo()}")


@test
def sighup_reloads(world):
    alpha, beta, session = up_pair(world)
    alpha.config["managers"][0]["policy"] = {"plugin": "least_inflight"}
    alpha.write_config()
    alpha.signal(signal.SIGHUP)
    wait_for(lambda: alpha.manager_status()["policy"] == "least_inflight", "the policy to change")
    check(alpha.session()["id"] == session == beta.session()["id"], "the session did not stay")


@test
def what_cannot_change_is_refused_as_a_whole(world):
    alpha, _, session = up_pair(world)
    good = alpha.config_path.read_text()
    changes = [
        (lambda c: c.update(cluster="store2"), "cluster"),
        (lambda c: c["managers"][0].update(lanes=3), "lanes"),
        (lambda c: c["managers"][0]["links"].pop(), "links"),
        (lambda c: c["managers"][0]["links"][0].update(name="middle"), "name"),
        (lambda c: c["managers"][0]["clients"].pop(), "clients"),
        (lambda c: c.update(key_file="/nowhere/key"), "key_file"),
    ]
    for change, word in changes:
        alpha.config_path.write_text(good)
        config = json.loads(good)
        config["managers"][0]["policy"] = {"plugin": "least_inflight"}  # could change, but not together with that
        change(config)
        alpha.config_path.write_text(json.dumps(config, indent=2))
        reload_refused(alpha, word)
        check(alpha.manager_status()["policy"] == "round_robin", f"{word}: a part of it was taken")
    check(alpha.session()["id"] == session, "the session did not stay")
    alpha.config_path.write_text(good)
    alpha.cli("reload")


@test
def a_broken_file_is_refused_with_its_place(world):
    alpha, _, session = up_pair(world)
    good = alpha.config_path.read_text()
    lines = good.splitlines()
    number = next(i for i, line in enumerate(lines) if '"profile"' in line)
    lines[number] = lines[number].replace('"fast"', '"faster"')
    alpha.config_path.write_text("\n".join(lines))
    reload_refused(alpha, f":{number + 1}:", "fast")
    alpha.config_path.write_text(good[: len(good) // 2])
    reload_refused(alpha, str(alpha.config_path))
    alpha.config_path.unlink()
    reload_refused(alpha, str(alpha.config_path))
    alpha.signal(signal.SIGHUP)
    wait_for(lambda: "No such file" in alpha.log(), "the reason in the log")
    check(alpha.up() and alpha.session()["id"] == session, "the daemon goes on as before")


@test
def a_section_that_its_plugin_refuses(world):
    alpha, _, session = up_pair(world)
    alpha.config["managers"][0]["clients"][0]["config"] = {"interval_ms": "often"}
    alpha.write_config()
    reload_refused(alpha, "interval_ms", "often")
    check(alpha.session()["id"] == session and alpha.echo()["sent"] > 0, "the client goes on as before")


if __name__ == "__main__":
    main()
