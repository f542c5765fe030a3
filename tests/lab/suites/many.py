# SPDX-License-Identifier: Apache-2.0
"""More than one of a kind: two devices of it in one manager, two managers over the same devices."""
import copy

from machine import check, wait_for
from node import ECHO, IWARP, ROCE, link, manager, need_plugins, pair
from suite import case

GUESTS = 2
ORDER = 27


def swap(guests, old, kind, new, card):
    """The device of a card for one of another kind: both at once on one address would be one too many."""
    for guest in guests:
        guest.run(f"rdma link del {old} && rdma link add {new} type {kind} netdev {card}", 20)


@case
def two_devices_of_a_kind(lab):
    """Two of soft RoCE; the cable of one is pulled: the session and its data go on over the other, and the link comes back."""
    need_plugins(lab, "verbs")
    guests, names = list(lab.guests.values()), ("roce", "roce1")
    swap(guests, "siw1", "rxe", "rxe1", "eth1")
    nodes = alpha, beta = pair(lab, [manager([ROCE, link("roce1", "verbs", 1)], [ECHO], timers={"session_lost_ms": 30000})])
    for node in nodes:
        node.wait_links(*names)
        node.wait_answered()
    devices = {name: alpha.link(name)["detail"]["device"] for name in names}
    check(devices == {"roce": "rxe0", "roce1": "rxe1"}, f"{devices}")
    session = alpha.session()["id"]
    alpha.guest.cable(1, False)
    for node in nodes:
        wait_for(lambda node=node: node.link("roce1")["state"] != "up", f"{node.name} to see it", 30, 0.1)
        node.wait_links("roce")
        node.wait_answered()
    alpha.guest.cable(1, True)
    for node in nodes:
        node.wait_links(*names, timeout_s=60)
        node.wait_answered()
    check(alpha.session()["id"] == session == beta.session()["id"], "the session did not live through it")
    for node in nodes:
        node.check_sound()
    for node in nodes:
        node.stop()
    swap(guests, "rxe1", "siw", "siw1", "eth1")  # after a failure the guests are started anew


def with_port(one, port):
    one = copy.deepcopy(one)
    for section in one["nodes"].values():
        section["port"] = port
    return one


def view(node, name):
    """The node as one of its managers."""
    one = copy.copy(node)
    one.tool = f"{node.tool} --manager {name}"
    return one


@case
def two_managers(lab):
    """Both have a link over each of the same two devices; the end of one's session is nothing to the other."""
    need_plugins(lab, "verbs", "iwarp")
    second = manager([with_port(ROCE, 7571), with_port(IWARP, 7572)], [ECHO])
    second["name"] = "second"
    nodes = pair(lab, [manager([ROCE, IWARP], [ECHO]), second])
    first = [view(node, "main") for node in nodes]
    other = [view(node, "second") for node in nodes]
    for node in first + other:
        node.wait_up()
        node.wait_links("roce", "iwarp")
        node.wait_answered()
    check(first[0].session()["id"] != other[0].session()["id"], "both are the same session")
    kept, old = other[0].session()["id"], first[0].session()["id"]
    first[0].cli("session reset")
    wait_for(lambda: first[0].session()["state"] == first[1].session()["state"] == "up" and first[0].session()["id"] != old,
             "a new session of the first", 40, 0.2)
    for node in first + other:
        node.wait_links("roce", "iwarp")
        node.wait_answered()
    check(other[0].session()["id"] == kept == other[1].session()["id"], "the other's session ended with it")
    for node in first + other:
        node.check_sound()
    for node in nodes:
        node.stop()
