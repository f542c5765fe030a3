# SPDX-License-Identifier: Apache-2.0
"""A device that fails at this node: its interface switched off, its address taken away, the device itself removed."""
from machine import check, wait_for
from node import ECHOES, IWARP, ROCE, manager, need_plugins, pair, wait_carried
from suite import by_name, case

GUESTS = 2
ORDER = 25

HERE = "this node's interface is switched off, or has lost its address"


def port_errors(node, name):
    return int(node.guest.run_code(f"grep -c '{name}: the port is down' {node.log_path}")[1])


def gid_changes(node, name):
    return node.link(name)["detail"]["gid_changes"]


def goes_and_comes_back(lab, link, other, device, card, tells_of_gids):
    """Alpha's device of this link, in three ways, each while VIs of both nodes are on it; the session lives on over the other
    link."""
    need_plugins(lab, link["transport"], other["transport"])
    alpha, beta = nodes = pair(lab, [manager([link, other], ECHOES, timers={"session_lost_ms": 30000, "hold_ms": 20})])
    name, address, session = link["name"], link["nodes"]["alpha"]["address"], alpha.session()["id"]
    kind = device.rstrip("0123456789")

    def happens(what, away, cause, back, told=lambda: True):
        before = wait_carried(nodes, name, other["name"])
        for node in nodes:
            node.reset_echoes()
        alpha.guest.run(away, 60)
        wait_for(lambda: alpha.link(name)["state"] != "up" and cause in alpha.link(name)["cause"],
                 f"alpha to say '{cause}' of its link: {what}", 30, 0.2)
        wait_for(lambda: beta.link(name)["state"] != "up", f"beta's link to be down: {what}", 30, 0.2)
        wait_for(told, f"the device to have told of it: {what}", 30, 0.2)
        for node, was in zip(nodes, before):
            node.wait_links(other["name"])
            node.wait_answered().failover_ms(was.carried(name))
        alpha.guest.run(back, 60)
        for node in nodes:
            node.wait_links(name, other["name"], timeout_s=60)
            node.wait_answered()
            check(node.session()["id"] == session, f"the session did not live through it: {what}")
            node.check_sound()

    # What the device itself tells, beside the kernel's word on its interface.
    before = port_errors(alpha, name)
    happens("interface switched off", f"ip link set {card} down", HERE, f"ip link set {card} up",
            lambda: port_errors(alpha, name) > before)
    changes = gid_changes(alpha, name)
    happens("address taken away", f"ip addr del {address}/24 dev {card}", HERE, f"ip addr add {address}/24 dev {card}",
            lambda: not tells_of_gids or gid_changes(alpha, name) > changes)
    happens("device removed", f"rdma link del {device}", f"no RDMA device has the address {address}",
            f"rdma link add {device} type {kind} netdev {card}")


@case
def of_roce(lab):
    goes_and_comes_back(lab, ROCE, IWARP, "rxe0", "eth0", True)


# By name: when a device of soft iWARP is removed under load, its kernel module now and then breaks a list of its listeners
# ("list_del corruption", siw_destroy_listen), and the guest is of no use any more.
@by_name
@case
def of_iwarp(lab):
    # Its only GID is the card's own address, which stays.
    goes_and_comes_back(lab, IWARP, ROCE, "siw1", "eth1", False)
