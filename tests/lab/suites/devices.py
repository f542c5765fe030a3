# SPDX-License-Identifier: Apache-2.0
"""A device that fails at this node: its interface switched off, its address taken away, the device itself removed."""
from machine import check, wait_for
from node import ECHO, IWARP, ROCE, manager, need_plugins, pair
from suite import case

GUESTS = 2
ORDER = 25


def goes_and_comes_back(lab, link, other, device, card):
    """Alpha's device of this link, in three ways; the session lives on over the other link."""
    need_plugins(lab, link["transport"], other["transport"])
    alpha, beta = pair(lab, [manager([link, other], [ECHO], timers={"session_lost_ms": 30000})])
    nodes, name = (alpha, beta), link["name"]
    address = link["nodes"]["alpha"]["address"]
    kind = device.rstrip("0123456789")
    session = alpha.session()["id"]

    def happens(what, away, cause, back):
        for node in nodes:
            node.wait_links(name, other["name"], timeout_s=60)
        alpha.guest.run(away, 60)
        wait_for(lambda: alpha.link(name)["state"] != "up" and cause in alpha.link(name)["cause"],
                 f"alpha to say '{cause}' of its link: {what}", 30, 0.2)
        wait_for(lambda: beta.link(name)["state"] != "up", f"beta's link to be down: {what}", 30, 0.2)
        for node in nodes:
            node.wait_links(other["name"])
            node.wait_answered()
        alpha.guest.run(back, 60)
        for node in nodes:
            node.wait_links(name, other["name"], timeout_s=60)
            node.wait_answered()
            check(node.session()["id"] == session, f"the session did not live through it: {what}")
            stats = node.echo()
            check(stats["mismatches"] == stats["refused"] == stats["lost"] == 0, f"{what}: {node.name}: {stats}")

    here = "this node's interface is switched off, or has lost its address"
    happens("interface switched off", f"ip link set {card} down", here, f"ip link set {card} up")
    happens("address taken away", f"ip addr del {address}/24 dev {card}", here, f"ip addr add {address}/24 dev {card}")
    happens("device removed", f"rdma link del {device}", f"no RDMA device has the address {address}",
            f"rdma link add {device} type {kind} netdev {card}")


@case
def of_roce(lab):
    goes_and_comes_back(lab, ROCE, IWARP, "rxe0", "eth0")


@case
def of_iwarp(lab):
    goes_and_comes_back(lab, IWARP, ROCE, "siw1", "eth1")
