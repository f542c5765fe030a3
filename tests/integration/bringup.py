#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sessions come up, end and come up again: whoever starts first, restarts, stands still or stops in order."""
import random
import signal

from lib import CALM, ECHO, check, loopback_link, main, manager, test, wait_for


def same_session(alpha, beta):
    a, b = alpha.session(), beta.session()
    return a["state"] == b["state"] == "up" and a["id"] == b["id"] and a["id"]


def wait_same(alpha, beta, timeout_s=10):
    wait_for(lambda: same_session(alpha, beta), "both nodes to be up in the same session", timeout_s)


def wait_answered(node, more=10, timeout_s=10):
    """The echo client gets answers to pings that it sends from now on."""
    start = node.echo()["answered"]
    wait_for(lambda: node.echo()["answered"] >= start + more, f"{node.name}'s echo to get answers", timeout_s)


def check_echo(*nodes):
    for node in nodes:
        stats = node.echo()
        check(stats["mismatches"] == 0, f"{node.name}: a message overtook its data: {stats}")
        check(stats["refused"] == 0, f"{node.name}: messages that made no sense: {stats}")


@test
def a_session_comes_up_and_clients_exchange_data(world):
    alpha, beta = world.pair([manager(clients=[ECHO], timers=CALM)])
    wait_same(alpha, beta)
    for node, partner in ((alpha, beta), (beta, alpha)):
        session = node.session()
        check(session["version"] >= 1, f"no protocol version rules: {session}")
        check(
            session["partner_incarnation"] == partner.manager_status()["incarnation"],
            f"{node.name} does not know {partner.name}'s incarnation",
        )
        proofs = [link["proof"] for link in node.manager_status()["links"]]
        check(proofs == ["completion"] * len(proofs), f"what a completion proves over tcp: {proofs}")
        client = node.manager_status()["clients"][0]
        check(client["state"] == "ready" and client["vis"] == 1, f"client {client}")
        check(client["here_regions"] == 1 and client["there_regions"] == 1, f"client {client}")
        wait_answered(node)
        node.cli("client", "echo", "ping")
    check_echo(alpha, beta)


@test
def both_start_at_once(world):
    alpha, beta = world.pair(start=False)
    for _ in range(6):
        # Neither waits for the other's socket: both connect as soon as they can.
        alpha.start(follow=False, wait=False)
        beta.start(follow=False, wait=False)
        for node in (alpha, beta):
            wait_for(node.answers, f"{node.name} to answer")
        wait_same(alpha, beta)
        # One connection of each link stays.
        wait_for(
            lambda: all(link["state"] == "up" for n in (alpha, beta) for link in n.manager_status()["links"]),
            "all links to be up",
        )
        alpha.kill()
        beta.kill()


@test
def one_starts_long_before_the_other(world):
    alpha, beta = world.pair(start=False)
    alpha.start()
    wait_for(lambda: alpha.link("left")["failures"] >= 3 or alpha.link("left")["cause"], "alpha to have tried in vain")
    check(not alpha.up(), "a session without a partner")
    code, out = alpha.cli_code("status")
    check(code == 1 and out.startswith("DOWN"), f"status of a lonely node: {code} {out}")
    beta.start()
    wait_same(alpha, beta)


@test
def a_partner_that_restarts_gets_a_new_session(world):
    alpha, beta = world.pair([manager(clients=[ECHO])])
    for _ in range(3):
        wait_answered(alpha)
        before = alpha.session()
        beta.kill()
        beta.start(follow=False)
        wait_for(lambda: alpha.up() and alpha.session()["id"] != before["id"], "alpha to be up in a new session")
        wait_same(alpha, beta)
        after = alpha.session()
        check(after["partner_incarnation"] != before["partner_incarnation"], "a restart has a new incarnation")
    wait_answered(alpha)
    check_echo(alpha, beta)


@test
def a_partner_that_dies_at_any_moment_of_bring_up(world):
    alpha, beta = world.pair(start=False)
    alpha.start()
    chance = random.Random(1)
    for round_number in range(12):
        beta.start(follow=False, wait=False)
        # How far bring-up is when the signal comes is left to chance: a session may be up or not even begun.
        goal = chance.choice(["start", "link", "up"])
        if goal == "link":
            wait_for(lambda: alpha.link("left")["state"] not in ("down", "connecting") or alpha.up(), "a link to begin")
        elif goal == "up":
            wait_for(alpha.up, f"the session of round {round_number}")
        beta.kill()
        wait_for(lambda: not alpha.up(), "alpha to notice", 5)
    beta.start()
    wait_same(alpha, beta)


@test
def a_partner_that_stands_still_is_given_up_and_comes_back(world):
    alpha, beta = world.pair([manager(clients=[ECHO])])
    wait_answered(alpha)
    mark = alpha.mark()
    beta.signal(signal.SIGSTOP)
    wait_for(lambda: not alpha.up(), "alpha to give up a partner that stands still", 5)
    end = alpha.last_end()
    check(end["reason"] in ("link-lost", "deadline"), f"last_end {end}")
    check(alpha.mark() >= mark and alpha.cli("clients"), "alpha itself goes on")
    beta.signal(signal.SIGCONT)
    wait_same(alpha, beta)
    wait_answered(alpha)
    check_echo(alpha, beta)


@test
def a_partner_that_stops_in_any_state_of_bring_up(world):
    """Never a hang, and never half up beyond the deadline: what one node shows, the other comes to show."""
    alpha, beta = world.pair(start=False)
    alpha.start()
    chance = random.Random(2)
    stopped_before_up = 0
    for _ in range(15):
        beta.start(follow=False, wait=False)
        for _ in range(chance.randrange(6)):
            alpha.cli_code("links")  # lets a little time go by, by doing what an operator does
        beta.signal(signal.SIGSTOP)
        if not alpha.up():
            stopped_before_up += 1
        # bringup_ms and session_lost_ms of the profile are 2 s and 1 s.
        wait_for(lambda: not alpha.up(), "alpha not to stay up with a partner that stands still", 5)
        check(alpha.cli("links"), "alpha answers")
        beta.signal(signal.SIGCONT)
        wait_for(lambda: same_session(alpha, beta), "a session after the partner went on", 10)
        beta.kill()
        wait_for(lambda: not alpha.up(), "alpha to notice the end", 5)
    check(stopped_before_up > 0, "the partner was never stopped before the session was up")


@test
def sigterm_ends_in_order(world):
    # Whatever is under way has the time to be finished.
    alpha, beta = world.pair([manager(clients=[ECHO], timers={**CALM, "ending_ms": 10000})])
    wait_answered(alpha)
    mark = beta.mark()
    check(alpha.stop() == 0, f"a clean stop exits with 0:\n{alpha.log_tail()}")
    wait_for(lambda: not beta.up(), "beta to learn of it")
    end = beta.last_end()
    check(end["reason"] in ("shutdown", "partner-ended"), f"last_end {end}")
    # An end in order: the clients were told before, and finished what was under way.
    beta.wait_event("session-ending", mark)
    check(beta.echo()["lost"] == 0, f"the clients were not given the time to finish: {beta.echo()}")
    check(not alpha.socket.exists(), "the control socket is left behind")
    alpha.start()
    wait_same(alpha, beta)


@test
def a_second_sigterm_hurries(world):
    alpha, beta = world.pair()
    beta.signal(signal.SIGSTOP)  # it will not answer to the end of the session
    alpha.signal(signal.SIGTERM)
    alpha.signal(signal.SIGTERM)
    check(alpha.wait_exit(5) == 0, "a hurried stop is a clean one")
    beta.signal(signal.SIGCONT)


@test
def session_reset_comes_up_again(world):
    # Whatever is under way has the time to be finished.
    alpha, beta = world.pair([manager(clients=[ECHO], timers={**CALM, "ending_ms": 10000})])
    wait_answered(alpha)
    before = alpha.session()["id"]
    alpha.cli("session", "reset", "--why", "cable swap")
    wait_for(lambda: same_session(alpha, beta) and alpha.session()["id"] != before, "a new session")
    for node in (alpha, beta):
        end = node.session()["last_end"]
        check(end["reason"] in ("operator", "partner-ended"), f"{node.name}: last_end {end}")
    alpha.wait_log("cable swap")
    check(alpha.echo()["lost"] == 0 and beta.echo()["lost"] == 0, "the clients were not given the time to finish")
    wait_answered(alpha)
    check_echo(alpha, beta)


@test
def a_client_that_only_one_node_has(world):
    """Such a configuration differs in what must agree, and is refused with that reason."""
    links = [loopback_link("left")]
    alpha = world.node("alpha", world.config([manager(links=links, clients=[ECHO])]))
    beta = world.node("beta", world.config([manager(links=links)]))
    alpha.start()
    beta.start()
    alpha.wait_refused("configuration")
    beta.wait_refused("configuration")


if __name__ == "__main__":
    main()
