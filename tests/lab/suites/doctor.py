# SPDX-License-Identifier: Apache-2.0
"""`carrick doctor` beside a partner with real RDMA: what it says of a pair that is well, and of each thing that is not."""
import json

from machine import check
from node import IWARP, ROCE, manager, need_plugins, pair
from suite import case

GUESTS = 2
ORDER = 27


def ask(node):
    """(exit status, {subject: [findings]})"""
    code, text = node.guest.run_code(
        f"{node.lab.build}/bin/carrick doctor --json --node {node.name} /tmp/config.json", 60)
    found = {}
    for finding in json.loads(text)["findings"]:
        found.setdefault(finding["subject"], []).append(finding)
    return code, found


def expect(node, subject, words, mend, level="problem"):
    code, found = ask(node)
    check(any(one["level"] == level and all(word in one["text"] for word in words) and mend in (one["mend"] or "")
              for one in found.get(subject, [])),
          f"no {level} with {words} to be mended by '{mend}' for '{subject}': {json.dumps(found, indent=1)}")
    check(level != "problem" or code == 1, f"exit status {code} with a problem")


def said_of_links(node):
    return node.guest.run_code(f"grep -E 'main/(roce|iwarp)|refus' {node.log_path}")[1]


@case
def a_pair_that_is_well_and_half_of_one(lab):
    need_plugins(lab, "verbs", "iwarp")
    nodes = alpha, beta = pair(lab, [manager([ROCE, IWARP], [])])
    for node in nodes:
        node.wait_links("roce", "iwarp")
    before = [(node.session()["id"], said_of_links(node)) for node in nodes]
    for node in nodes:
        code, found = ask(node)
        bad = [one for findings in found.values() for one in findings if one["level"] != "ok"]
        check(code == 0 and not bad, f"{node.name}: {code} {bad}")
        for link in ("roce", "iwarp"):
            texts = [one["text"] for one in found[f"link {link}"]]
            for word in ("carrickd of the partner answers", "packets of 1500 bytes reach the partner and come back whole"):
                check(any(word in text for text in texts), f"{node.name}: '{word}' is not said of {link}: {texts}")
    for node, (session, lines) in zip(nodes, before):
        check(node.session()["id"] == session, f"{node.name}: the session did not outlive the question")
        check(said_of_links(node) == lines, f"{node.name} has something to say of it:\n{node.log_tail()}")
    beta.stop()
    for link, port in (("roce", 7471), ("iwarp", 7482)):
        expect(alpha, f"link {link}", [f"nobody listens on port {port} over RDMA"], "systemctl start carrickd # on beta", "warning")


@case
def what_stands_in_the_way(lab):
    nodes = alpha, beta = pair(lab, [manager([ROCE, IWARP], [])], start=False)
    for node in nodes:
        node.write()

    def broken(away, back, *expected):
        beta.guest.run(away, 60)
        for one in expected:
            expect(*one)
        beta.guest.run(back, 60)

    broken("ip link set eth0 mtu 1000", "ip link set eth0 mtu 1500",
           (alpha, "link roce", ["MTU is 1500", "about 996"], "ip link set INTERFACE mtu 1500 # on beta, for what has 10.0.1.2"))
    broken("rdma link del rxe0", "rdma link add rxe0 type rxe netdev eth0",
           (alpha, "link roce", ["host answers at 10.0.1.2, its RDMA does not", "device is gone"], "carrick doctor # on beta"),
           (beta, "link roce", ["no RDMA device is on eth0"], "rdma link add rxe0 type rxe netdev eth0"))
    broken("ip link set eth0 down", "ip link set eth0 up",
           (alpha, "link roce", ["does not answer at 10.0.1.2"], "ping -c 3 10.0.1.2"),
           (beta, "link roce", ["eth0 is down"], "ip link set eth0 up"))
