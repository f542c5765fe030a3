# SPDX-License-Identifier: Apache-2.0
"""Memory that devices lock: the limit of it, refused before a session is built and mended without a restart; a log on huge pages."""
import re
import sys
import time

from machine import TOP, check, need_programs, wait_for
from node import IWARP, ROCE, manager, need_plugins, pair
from suite import case

sys.path.append(str(TOP / "tests/integration"))

GUESTS = 2
ORDER = 22
DOORS = [10809]
MIB = 1 << 20
LIMIT = 8 * MIB
PILOT = {"name": "pilot", "plugin": "pilot", "config": {"vis": 1, "regions": [8 * MIB]}}
SUM = re.compile(r"^(\d+) KiB of memory would be locked: 1 link\(s\) x \(\d+ KiB of this node's \+ 8192 KiB for the partner\); "
                 r"node alpha may lock 8192 KiB: set LimitMEMLOCK=infinity in carrickd's unit, or `ulimit -l unlimited`$")


def pinned_kib(node):
    return int(node.guest.run(f"grep VmPin /proc/{node.pid()}/status").split()[1])


def under_a_limit(lab, link, prefix=""):
    """Alpha may lock less than the session wants: both nodes say how much that is, nothing of the partner's was registered; and
    with just that much, given to the daemon that runs, there is a session that carries data."""
    need_plugins(lab, link["transport"])
    need_programs("prlimit", "setpriv")
    alpha, beta = pair(lab, [manager([link], [PILOT])], start=False)
    alpha.daemon = f"prlimit --memlock={LIMIT}:{LIMIT} {prefix} {alpha.daemon}"
    for node in (alpha, beta):
        node.start()
    for node in (alpha, beta):
        wait_for(lambda node=node: SUM.match((node.session()["refused"] or {"text": ""})["text"]), f"{node.name} to say the sum", 30,
                 0.2)
    refused = alpha.session()["refused"]
    check(refused["reason"] == "resources" and refused["by"] == "local", f"{refused}")
    code, screen = alpha.cli_code("status")
    check(code == 1 and "LimitMEMLOCK=infinity" in screen, f"the screen does not say it ({code}): {screen}")
    lines = alpha.log_tail(200).rpartition("manager starts")[2].count("this node refused: resources")
    check(lines == 1, f"it was logged {lines} times")
    check(pinned_kib(alpha) < LIMIT // 1024, "the partner's region was locked")
    wanted = int(SUM.match(refused["text"]).group(1))
    # What a driver and the transport have beside is not in the sum.
    allowed = (wanted + 1024) * 1024
    alpha.guest.run(f"prlimit --pid {alpha.pid()} --memlock={allowed}:{allowed}")
    for node in (alpha, beta):
        node.wait_links(link["name"])
    alpha.client("pilot", "put '{\"vi\":0,\"there\":0,\"offset\":4096,\"length\":16,\"byte\":7}'")
    got = beta_sees(beta)
    check(got == "07" * 16, f"beta's memory has {got}")
    pinned = pinned_kib(alpha)
    for node in (alpha, beta):
        node.stop()
    return f"a sum of {wanted} KiB was refused; locked were {pinned} KiB"


def beta_sees(beta):
    return beta.client("pilot", "peek '{\"here\":0,\"offset\":4096,\"length\":16}'")


@case
def too_little_for_roce(lab):
    """Without CAP_IPC_LOCK: who has it is not limited there."""
    return under_a_limit(lab, ROCE, "setpriv --bounding-set -ipc_lock")


@case
def too_little_for_iwarp(lab):
    """Soft iWARP holds root to its limit, too."""
    return under_a_limit(lab, IWARP)


@case
def a_node_that_has_too_much_itself(lab):
    """Its own regions are more than it may lock: its link says so, before anybody is connected to."""
    need_plugins(lab, "verbs")
    need_programs("prlimit", "setpriv")
    alpha = pair(lab, [manager([ROCE], [PILOT])], start=False)[0]
    alpha.daemon = f"prlimit --memlock={MIB}:{MIB} setpriv --bounding-set -ipc_lock {alpha.daemon}"
    alpha.start()
    wait_for(lambda: "node alpha may lock 1024 KiB" in alpha.link("roce")["cause"], "the link to say it", 20, 0.2)
    check("+ 0 KiB for the partner" in alpha.link("roce")["cause"], f"{alpha.link('roce')}")
    alpha.stop()


# ---- huge pages


def huge_pages_free(node):
    return int(node.guest.run("grep HugePages_Free: /proc/meminfo").split()[1])


@case
def a_log_on_huge_pages(lab):
    """It is registered over RoCE and iWARP; what users write goes over each of them, and is right."""
    from nbd_load import Load  # pylint: disable=import-outside-toplevel
    need_plugins(lab, "verbs", "iwarp", "failover", "nvram_shadow", "shelf", "mailbox")
    need_programs("nbdkit")
    clients = [
        {"name": "nvram", "plugin": "nvram_shadow", "config": {"groups": [
            {"name": "g1", "home": "alpha", "log_bytes": 4 * MIB, "backing": "hugetlbfs", "path": "/mnt/g1.log"}]}},
        {"name": "shelf", "plugin": "shelf", "config": {"socket": "/run/carrick-%n.block", "shelves": [
            {"name": "disk1", "group": "g1", "path": "/tmp/disk1.img", "bytes": 8 * MIB}]}},
        {"name": "failover", "plugin": "failover", "config": {"timers": "default"}},
    ]
    mailbox = lab.common / "huge"
    mailbox.mkdir(exist_ok=True)
    nodes = pair(lab, [manager([ROCE, IWARP], clients, arbiter={
        "plugin": "mailbox", "config": {"directory": "/common/huge"}})], start=False)
    plugin = lab.build / "nbdkit/nbdkit-carrick-plugin.so"
    for node in nodes:
        node.guest.run("echo 8 >/proc/sys/vm/nr_hugepages && mount -t hugetlbfs none /mnt")
        check(huge_pages_free(node) == 8, "the guest has no huge pages")
        node.start(wait=False)
    for node in nodes:
        wait_for(lambda node=node: node.client("failover", "status")["groups"][0]["state"] == "protected",
                 f"the group to be protected at {node.name}", 60, 0.2)
        # The head has one, the ring two.
        check(huge_pages_free(node) == 5, f"{huge_pages_free(node)} of 8 huge pages are free")
        node.guest.run(f"setsid nbdkit --foreground -p 10809 {plugin} socket=/run/carrick-{node.name}.block shelf=disk1 "
                       ">>/tmp/nbdkit.log 2>&1 </dev/null &")
    load = Load([node.guest.door(10809) for node in nodes], blocks=64, writers=2).start()
    for off, on in (("roce", "iwarp"), ("iwarp", "roce")):
        for node in nodes:
            node.wait_links("roce", "iwarp")
        nodes[0].cli(f"link down {off}")
        wait_for(lambda off=off: nodes[0].link(off)["state"] != "up", f"{off} to be down", 20, 0.1)
        at = time.monotonic()
        wait_for(lambda at=at: load.answers_since(at) >= 50, f"answers to the load over {on}", 30)
        nodes[0].cli(f"link up {off}")
    load.stop()
    wrong = load.verify(60)
    check(not wrong, f"{len(wrong)} wrong: {wrong[:5]}")
    for node in nodes:
        node.stop()
        node.guest.run("rm /mnt/g1.log; umount /mnt; echo 0 >/proc/sys/vm/nr_hugepages")
