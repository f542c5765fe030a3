# SPDX-License-Identifier: Apache-2.0
"""Two daemons in two guests: bring-up, data, failover between RoCE, iWARP and TCP, and an end in order."""
from machine import check, wait_for
from node import ECHO, IWARP, ROCE, TCP_BESIDE_IWARP, TCP_BESIDE_ROCE, manager, need_plugins, pair
from suite import by_name, case

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
    for name in names:
        check(alpha.link(name)["proof"] == "flush", f"{name}: what does a completion prove? {alpha.link(name)}")
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


def fails_over(lab, *links, profile="normal"):
    """The cable of each of these links (by card) is pulled at each end in turn; the session lives on over the others, and
    the link comes back."""
    need_plugins(lab, *(one["transport"] for one, _ in links))
    # The session is to live through what becomes of its links; emulated machines may lose another one for a moment.
    alpha, beta = nodes = pair(lab, [manager([one for one, _ in links], [ECHO], profile=profile,
                                             timers={"session_lost_ms": 30000})])
    names = [one["name"] for one, _ in links]
    for node in nodes:
        node.wait_links(*names)
        node.wait_answered()
    session, said = alpha.session()["id"], []
    for name, card in [(one["name"], card) for one, card in links if card is not None]:
        near, far, carried = [], [], []
        for here, there in ((alpha, beta), (beta, alpha)):
            for node in nodes:
                node.echo("reset")
            carried.append(here.link(name)["vis"])
            here.guest.cable(card, False)
            for node in nodes:
                wait_for(lambda node=node: node.link(name)["state"] != "up", f"{node.name} to see it", 30, 0.1)
                node.wait_answered()
                node.wait_links(*(other for other in names if other != name))
            near.append(here.echo()["longest_us"] / 1000)
            far.append(there.echo()["longest_us"] / 1000)
            here.guest.cable(card, True)
            for node in nodes:
                node.wait_links(*names, timeout_s=60)
                node.wait_answered()
        said.append(f"{name}, with {' and '.join(map(str, carried))} VIs on it: longest round trip {max(near):.0f} ms with the "
                    f"near cable out, {max(far):.0f} ms with the far one")
    check(alpha.session()["id"] == session == beta.session()["id"], "the session did not live through it")
    check_sound(*nodes)
    return "; ".join(said)


@case
def between_roce_and_iwarp(lab):
    return fails_over(lab, (ROCE, 0), (IWARP, 1))


@by_name
@case
def at_the_fast_profile(lab):
    return fails_over(lab, (ROCE, 0), (IWARP, 1), profile="fast")


@by_name
@case
def from_roce_to_tcp_and_back(lab):
    return fails_over(lab, (ROCE, 0), (TCP_BESIDE_IWARP, None))


@case
def from_iwarp_to_tcp_and_back(lab):
    return fails_over(lab, (IWARP, 1), (TCP_BESIDE_ROCE, None))
