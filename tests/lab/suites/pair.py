# SPDX-License-Identifier: Apache-2.0
"""Two daemons in two guests: bring-up, data, failover between RoCE, iWARP and TCP, and an end in order."""
from machine import check, wait_for
from node import ECHO, IWARP, ROCE, TCP_BESIDE_IWARP, TCP_BESIDE_ROCE, manager, need_plugins, pair
from suite import case

GUESTS = 2
ORDER = 20


def check_sound(*nodes):
    for node in nodes:
        stats = node.echo()
        check(stats["mismatches"] == stats["refused"] == stats["lost"] == 0, f"{node.name}: {stats}")


def up_and_down(lab, *links):
    """A session over these links alone: data both ways, and an end of which the partner is told."""
    alpha, beta = pair(lab, [manager(list(links), [ECHO])])
    names = [one["name"] for one in links]
    for node in (alpha, beta):
        node.wait_links(*names)
        node.wait_answered()
    check(alpha.session()["id"] == beta.session()["id"], "they are not in the same session")
    for node, partner in ((alpha, beta), (beta, alpha)):
        check(node.session()["partner_incarnation"] == partner.manager_status()["incarnation"],
              f"{node.name} does not know {partner.name}'s incarnation")
    check_sound(alpha, beta)
    old = alpha.session()["id"]
    alpha.cli("session reset")
    wait_for(lambda: alpha.session()["state"] == beta.session()["state"] == "up" and alpha.session()["id"] != old,
             "a new session", 40, 0.2)
    for node in (alpha, beta):
        node.wait_answered()
    check_sound(alpha, beta)
    alpha.stop()
    wait_for(lambda: beta.session()["state"] != "up", "beta to see the end", 20, 0.2)
    alpha.start().wait_up()
    beta.wait_up()
    beta.wait_answered()
    alpha.stop()
    beta.stop()


@case
def over_roce(lab):
    need_plugins(lab, "verbs")
    up_and_down(lab, ROCE)


@case
def over_iwarp(lab):
    need_plugins(lab, "iwarp")
    up_and_down(lab, IWARP)


def fails_over(lab, first, second, card):
    """The cable of the first link is pulled at each end in turn; the session lives on over the second, and back."""
    need_plugins(lab, first["transport"], second["transport"])
    alpha, beta = pair(lab, [manager([first, second], [ECHO])])
    for node in (alpha, beta):
        node.wait_links(first["name"], second["name"])
        node.wait_answered()
        node.echo("reset")
    session = alpha.session()["id"]
    longest = []
    for guest in (alpha.guest, beta.guest):
        for node in (alpha, beta):
            node.echo("reset")
        guest.cable(card, False)
        for node in (alpha, beta):
            wait_for(lambda node=node: node.link(first["name"])["state"] != "up", f"{node.name} to see it", 30, 0.1)
            node.wait_answered()
        check(alpha.link(second["name"])["state"] == "up", "the other link is not up")
        longest.append(max(node.echo()["longest_us"] for node in (alpha, beta)) / 1000)
        guest.cable(card, True)
        for node in (alpha, beta):
            node.wait_links(first["name"], second["name"], timeout_s=60)
            node.wait_answered()
    check(alpha.session()["id"] == session == beta.session()["id"], "the session did not live through it")
    check_sound(alpha, beta)
    return f"longest round trip: {longest[0]:.0f} ms (alpha's cable), {longest[1]:.0f} ms (beta's cable)"


@case
def from_roce_to_iwarp_and_back(lab):
    return fails_over(lab, ROCE, IWARP, 0)


@case
def from_iwarp_to_roce_and_back(lab):
    return fails_over(lab, IWARP, ROCE, 1)


@case
def from_roce_to_tcp_and_back(lab):
    return fails_over(lab, ROCE, TCP_BESIDE_IWARP, 0)


@case
def from_iwarp_to_tcp_and_back(lab):
    return fails_over(lab, IWARP, TCP_BESIDE_ROCE, 1)
