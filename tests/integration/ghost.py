#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ghost writes over real sockets: two daemons whose clients would notice one, and links that the fault transport cuts and
holds back, a thousand times. And the same with the fence taken out, which must be noticed."""
from lib import build_plugin, check, loopback_link, main, manager, test, wait_for

FAILURES = 1000

# Cut, or keep a write back and release it later, and sometimes lose a completion: often, but not all at one time.
RULES = [
    {"fault": "hold", "op": "write", "probability": 0.004, "delay_ms": 15},
    {"fault": "cut", "op": "any", "probability": 0.004},
    {"fault": "hold", "op": "send", "probability": 0.002, "delay_ms": 5},
]


def pair(world, seed, **wrapper):
    links = [loopback_link("left"), loopback_link("right")]
    nodes = []
    for number, link in enumerate(links):
        config = {"seed": seed + number, "rules": RULES, **wrapper}
        link["wrapper"] = {"plugin": "fault", "config": config}
    for name in ("alpha", "beta"):
        client = {"name": "ghost", "plugin": "ghost", "required": True}
        config = world.config([manager(links=links, clients=[client])])
        config["plugin_dirs"].append(str(build_plugin(world, "ghost")))
        nodes.append(world.node(name, config))
        nodes[-1].start()
    return nodes


def found(node):
    return node.manager_status()["clients"][0]["detail"]


def failures(*nodes):
    return sum(link["failures"] for node in nodes for link in node.manager_status()["links"])


@test
def no_ghost_in_a_thousand_failures(world):
    alpha, beta = pair(world, seed=1)
    wait_for(lambda: failures(alpha, beta) >= FAILURES or found(alpha)["wrong"] or found(beta)["wrong"],
             f"{FAILURES} link failures", 180)
    for node in (alpha, beta):
        seen = found(node)
        check(seen["wrong"] == 0, f"{node.name}: {seen['wrong']} wrong, first: {seen['first_wrong']}")
        check(seen["received"] > 1000 and seen["writes"] > 1000, f"{node.name} did little: {seen}")
        print(f"    {node.name}: {seen['writes']} writes, {seen['received']} sends received, {seen['sessions']} sessions")


@test
def without_the_fence_it_is_noticed(world):
    """The wrapper reports CLOSED at once and releases what it holds later: what the fence is there against."""
    alpha, beta = pair(world, seed=1, break_fence=True, linger_ms=200)
    wait_for(lambda: found(alpha)["wrong"] + found(beta)["wrong"] > 0, "a ghost write to be noticed", 120)


if __name__ == "__main__":
    main()
