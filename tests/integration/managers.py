#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Several managers on one node: each with a thread, links and a session of its own."""
import json

from lib import CALM, ECHO, check, main, manager, test, wait_for


def pair_of_two(world):
    return world.pair([manager("first", clients=[ECHO]), manager("second", clients=[ECHO], timers=CALM)])


def answered(node, name):
    return json.loads(node.cli("client", "echo", "stats", "--json", "--manager", name))["answered"]


@test
def both_managers_have_a_session_of_their_own(world):
    alpha, beta = pair_of_two(world)
    ids = set()
    for name in ("first", "second"):
        a, b = alpha.session(name), beta.session(name)
        check(a["id"] == b["id"], f"{name}: {a['id']} and {b['id']}")
        ids.add(a["id"])
        wait_for(lambda name=name: answered(alpha, name) > 20, f"echo of {name}")
    check(len(ids) == 2, f"one session for two managers: {ids}")
    incarnations = {m["incarnation"] for n in (alpha, beta) for m in n.status()["managers"]}
    check(len(incarnations) == 4, f"incarnations {incarnations}")
    wait_for(lambda: alpha.cli("status").startswith("OK"), "both managers to be well")
    out = alpha.cli_code("status")[1]
    check("manager first" in out and "manager second" in out, out)


@test
def what_happens_to_one_does_not_touch_the_other(world):
    alpha, beta = pair_of_two(world)
    kept, reset = alpha.session("second")["id"], alpha.session("first")["id"]
    alpha.cli("session", "reset", "--manager", "first")
    wait_for(lambda: alpha.up("first") and alpha.session("first")["id"] != reset, "first to be up anew")
    for link in alpha.manager_status("first")["links"]:
        alpha.cli("link", "down", link["name"], "--manager", "first")
    wait_for(lambda: not alpha.up("first"), "first to be down")
    before = answered(alpha, "second")
    wait_for(lambda: answered(alpha, "second") > before + 20, "second to go on")
    check(alpha.session("second")["id"] == kept == beta.session("second")["id"], "second's session changed")
    code, out = alpha.cli_code("status")
    check(code == 1 and "manager first" in out.splitlines()[0], f"first line: {out}")
    code, out = alpha.cli_code("status", "--manager", "second")
    check("manager first" not in out, f"--manager shows others: {out}")


@test
def a_command_that_could_mean_several_managers(world):
    alpha, _ = pair_of_two(world)
    code, out = alpha.cli_code("link", "down", "left")
    check(code == 1, f"link left is of both managers, yet: {code} {out}")
    check("first" in out and "second" in out and "--manager" in out, f"it does not say which ones there are: {out}")
    code, out = alpha.cli_code("session", "reset", "--manager", "third")
    check(code == 1 and "third" in out, f"{code} {out}")
    names = alpha.cli("links", "--names", "--manager", "first").split()
    check(names == ["left", "right"], f"names {names}")


if __name__ == "__main__":
    main()
