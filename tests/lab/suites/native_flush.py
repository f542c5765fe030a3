# SPDX-License-Identifier: Apache-2.0
"""RDMA's own flush, with a newer kernel and rdma-core: conformance over RoCE, and two daemons of which both have it, or one."""
import newer
import suite
from machine import NAMES, TOP, check
from node import ECHO, ROCE, manager, need_plugins, pair
from suite import case

GUESTS = 2
DEFAULT = False
TIMEOUT_S = 900
find_kit = newer.find_kit


def build(lab):
    """The tree built against the newer rdma-core. What lab.build holds is built against the machine's, which has no flush."""
    need_plugins(lab, "verbs")
    target = lab.build / "native-flush"
    newer.make_tree(TOP, target, lab.kit, "all", target / "tests/conformance")
    return target


@case
def conformance(lab):
    place, guest = build(lab), lab.guests["alpha"]
    output = guest.spawn(
        f"cp {place}/tests/conformance /tmp; BUILD={place} CONFORMANCE_FLUSH=native CONFORMANCE_VERBS=10.0.1.1 "
        "CONFORMANCE_ONLY='=verbs' /tmp/conformance --color=never --verbose --jobs 1 2>&1; echo \"ended with $?\"",
        TIMEOUT_S).wait(TIMEOUT_S + 30)
    passing, _ = suite.load("conformance").judge(guest, "verbs", int(output.split()[-1]), output)
    return f"{passing} passed"


def flushes(node):
    return node.link("roce")["detail"]


def check_pair(alpha, beta, native):
    for node in (alpha, beta):
        node.wait_links("roce")
        node.wait_answered()
    for node in (alpha, beta):
        said = flushes(node)
        check(said["flush"] == ("native" if native else "read"), f"{node.name}: {said}")
        check((said.get("native_flushes", 0) > 0) == native, f"{node.name}: {said}")
        node.check_sound()


def use(node, place):
    """This node's daemon, command and plugins are those of another build."""
    node.tool = node.tool.replace(f"{node.lab.build}/bin", f"{place}/bin")
    node.daemon = f"{place}/bin/carrickd"
    node.settings["plugin_dirs"][0] = f"{place}/plugins"


def run_pair(lab, with_it):
    place = build(lab)
    nodes = pair(lab, [manager([ROCE], [ECHO])], start=False)
    for node in nodes:
        if node.name in with_it:
            use(node, place)
        node.start()
    for node in nodes:
        node.wait_up()
    check_pair(*nodes, native=len(with_it) == 2)
    for node in nodes:
        node.stop()


@case
def both_have_it(lab):
    run_pair(lab, NAMES)


@case
def one_has_it(lab):
    """The other one's rdma-core has no flush: both read, and say so. Whichever of the two it is."""
    for name in NAMES:
        run_pair(lab, (name,))
