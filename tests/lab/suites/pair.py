# SPDX-License-Identifier: Apache-2.0
"""Two daemons in two guests: bring-up, data, failover between RoCE, iWARP and TCP, and an end in order."""
import itertools
import statistics

from machine import PATIENCE, Failure, Skip, check, wait_for
from node import ECHO, ECHOES, IWARP, ROCE, TCP_BESIDE_IWARP, TCP_BESIDE_ROCE, manager, need_plugins, pair, wait_carried
from suite import by_name, case

GUESTS = 2
ORDER = 20
FAST_MS = 200  # a VI goes on over another link within this time, at the profile fast
LEFT_OUT = 3  # pulls beside which more failed, at most, for each one that counts


def uptime_s(guest):
    return float(guest.run_code("cut -d' ' -f1 /proc/uptime")[1])


def terminated(guest, since_s):
    """Soft iWARP's words of a partner that found something wrong."""
    lines = guest.run_code("dmesg | grep TERMINATE")[1].splitlines()
    return [line for line in lines if float(line[1:line.index("]")]) >= since_s]


def up_and_down(lab, *links, resets=1):
    """Sessions over these links alone, one after the other, of which none breaks: data both ways, and an end of which the partner
    is told."""
    alpha, beta = pair(lab, [manager(list(links), [ECHO])])
    names = [one["name"] for one in links]
    began_s = {node: uptime_s(node.guest) for node in (alpha, beta)}
    for node in (alpha, beta):
        node.wait_links(*names)
        node.wait_answered()
    check(alpha.session()["id"] == beta.session()["id"], "they are not in the same session")
    for node, partner in ((alpha, beta), (beta, alpha)):
        check(node.session()["partner_incarnation"] == partner.manager_status()["incarnation"],
              f"{node.name} does not know {partner.name}'s incarnation")
    for node in (alpha, beta):
        node.check_sound()
    for name in names:
        check(alpha.link(name)["proof"] == "flush", f"{name}: what does a completion prove? {alpha.link(name)}")
    for _ in range(resets):
        old = alpha.session()["id"]
        alpha.cli("session reset")
        wait_for(lambda old=old: (one := alpha.session())["state"] == "up" and one["id"] != old and
                 (two := beta.session())["state"] == "up" and two["id"] == one["id"], "a new session", 40, 0.2)
    for node in (alpha, beta):
        node.wait_answered()
        node.check_sound()
        check(node.session()["sessions"] == resets + 1, f"{node.name}: a session broke: {node.session()}")
        check(all(one["failures"] == 0 for one in node.links().values()), f"{node.name}: a link broke: {node.links()}")
        # Also while a session ended.
        said = terminated(node.guest, began_s[node])
        check(not said, f"{node.name}: {said}")
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
    """With many ends and beginnings, at which both nodes send and read at once: where soft iWARP is easily upset."""
    need_plugins(lab, "iwarp")
    up_and_down(lab, IWARP, resets=10)


def pull(here, there, name, card, names):
    """Pulls this end's cable of the link while VIs of both nodes are on it. How long they took to go on over another link, in ms,
    here and at the other end; None when that was not all that failed, as happens where emulated machines get no processor."""
    nodes, others = (here, there), [other for other in names if other != name]
    before = wait_carried(nodes, *names)
    for node in nodes:
        node.reset_echoes()
    here.guest.cable(card, False)
    after = []
    for node in nodes:
        wait_for(lambda node=node: not (look := node.look()).up(name) and look.up(*others), f"{node.name} to see it", 30, 0.1)
        after.append(node.wait_answered())
    here.guest.cable(card, True)
    for was, now in zip(before, after):
        failures = {one: link["failures"] - was.links[one]["failures"] for one, link in now.links.items()}
        if failures != {one: int(one == name) for one in names}:
            return None
    return [now.failover_ms(was.carried(name)) for was, now in zip(before, after)]


class Figures:
    """Of the pulled cables of one link. With a limit they are of the profile fast."""

    def __init__(self, name, pulls, limit_ms):
        self.name, self.pulls, self.limit_ms, self.took, self.left_out = name, pulls, limit_ms, [], 0

    def take(self, one):
        """Whether it is one of those."""
        if one:
            self.took.append(one)
            return True
        self.left_out += 1
        if self.left_out > LEFT_OUT * self.pulls:
            said = f"more failed than {self.name}, at {self.left_out} pulls of its cable"
            # Where the guests get no processor for 80 ms again and again, that profile loses links of which nothing is wrong.
            raise Skip(f"the machine is too busy for the profile fast: {said}") if self.limit_ms else Failure(said)
        return False

    def text(self):
        near, far = ([round(one) for one in side] for side in zip(*self.took))
        said = f"{self.name}: " + ", ".join(
            f"{end} cable {statistics.median(side):g} ms ({min(side)} to {max(side)})" for end, side in (("near", near), ("far", far)))
        said += f" of {len(near)}" + (f", {self.left_out} left out" if self.left_out else "")
        if self.limit_ms:
            check(max(map(statistics.median, (near, far))) <= self.limit_ms, f"more than {self.limit_ms:g} ms: {said}")
        return said


def fails_over(lab, *links, profile="normal", pulls=2, limit_ms=None):
    """The cable of each of these links (by card) is pulled at each end in turn; the session lives on over the others, and
    the link comes back. Says the medians of the longest round trips."""
    need_plugins(lab, *(one["transport"] for one, _ in links))
    # The session is to live through what becomes of its links; emulated machines may lose another one for a moment.
    alpha, beta = nodes = pair(lab, [manager([one for one, _ in links], ECHOES, profile=profile,
                                             timers={"session_lost_ms": 30000, "hold_ms": 20})])
    names = [one["name"] for one, _ in links]
    session, said = alpha.session()["id"], []
    for name, card in [(one["name"], card) for one, card in links if card is not None]:
        figures = Figures(name, pulls, limit_ms)
        for here, there in itertools.islice(itertools.cycle(((alpha, beta), (beta, alpha))), pulls):
            while not figures.take(pull(here, there, name, card, names)):
                pass
        said.append(figures.text())
    for node in nodes:
        node.wait_links(*names, timeout_s=60)
        node.wait_answered()
        check(node.session()["id"] == session, "the session did not live through it")
        node.check_sound()
    return "longest round trip; " + "; ".join(said)


@case
def between_roce_and_iwarp(lab):
    return fails_over(lab, (ROCE, 0), (IWARP, 1))


def at_the_fast_profile(lab, pulls):
    return fails_over(lab, (ROCE, 0), (IWARP, 1), profile="fast", pulls=pulls, limit_ms=FAST_MS * PATIENCE)


@case
def fast_failover(lab):
    return at_the_fast_profile(lab, 3)


@by_name
@case
def fast_many_times(lab):
    return at_the_fast_profile(lab, 9)


@case
def from_roce_to_tcp_and_back(lab):
    return fails_over(lab, (ROCE, 0), (TCP_BESIDE_IWARP, None))


@case
def from_iwarp_to_tcp_and_back(lab):
    return fails_over(lab, (IWARP, 1), (TCP_BESIDE_ROCE, None))
