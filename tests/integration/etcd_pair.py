#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A pair of storage servers in namespaces, with etcd in a third one as the judge: reached by both, by one, by none, slow, stopped,
and set back to an old backup. No acknowledged write is lost, no read is stale, and never do two serve."""
import shutil
import signal
import threading
import time

from etcd_world import PREFIX, Etcd, EtcdNet, need_etcd, settle
from lib import check, main, needs_root, test, wait_for
from nbd_load import Load
from storage import Storage


def pair(world, calm=True):
    need_etcd()
    net = EtcdNet(world)
    etcd = Etcd(world, netns=net.place, address=net.address_of_etcd, port=2379).start()
    arbiter = {"plugin": "etcd", "config": {"endpoints": [etcd.url], "prefix": PREFIX, "probe_s": 1}}
    storage = Storage(world, net=net, arbiter=arbiter)
    if calm:  # nobody is lost but by the test
        storage.calm()
    storage.start().wait_protected()
    load = Load(storage.exports("disk1"), blocks=512).start()
    wait_answers(load)
    return net, etcd, storage, load


def wait_answers(load, count=100, timeout_s=20):
    at = time.monotonic()
    wait_for(lambda: load.answers_since(at) >= count, "answers to the load", timeout_s)
    check(not load.wrong, f"wrong: {load.wrong[:5]}")


def finish(storage, load):
    storage.wait_protected(60)
    wait_answers(load)
    load.stop()
    wrong = load.verify()
    check(not wrong, f"{len(wrong)} wrong: {wrong[:5]}")
    storage.check_copies()


def wait_one_serves(storage, load, who=None):
    wait_for(lambda: "alone" in (storage.state("alpha"), storage.state("beta")), "one node to go on alone", 60)
    wait_answers(load)
    serving = [name for name in storage.nodes if storage.state(name) == "alone"]
    check(len(serving) == 1 and serving[0] == (who or serving[0]), f"{serving} serve, not {who or 'one'}")


def wait_log(node, word, since=0):
    node.wait_log(word, since=since, timeout_s=30)


@test
@needs_root
def links_cut_and_etcd_reached_by_both_or_the_owner(world):
    net, _, storage, load = pair(world)
    for kept_away in ((), ("beta",)):
        net.keep_from_etcd(*kept_away)
        net.part()
        wait_one_serves(storage, load, "alpha" if kept_away else None)
        net.let_to_etcd(*kept_away)
        net.join()
        storage.wait_protected(60)
        if storage.group("alpha")["owner"] == "beta":
            storage.beta.cli("giveback", "g1")
            wait_for(lambda: (storage.group("alpha") or {}).get("owner") == "alpha", "alpha to own the group", 15)
            storage.wait_protected(60)
        wait_answers(load)
    finish(storage, load)


@test
@needs_root
def links_cut_and_etcd_reached_by_the_shadow_only(world):
    net, _, storage, load = pair(world)
    net.keep_from_etcd("alpha")
    net.part()
    wait_one_serves(storage, load, "beta")
    check(storage.state("alpha") != "alone", "the owner serves without the arbiter")
    net.let_to_etcd("alpha")
    wait_for(lambda: storage.state("alpha") == "stale", "the old owner to learn that it is none", 20)
    wait_answers(load)
    net.join()
    finish(storage, load)


@test
@needs_root
def links_cut_and_etcd_reached_by_none(world):
    net, _, storage, load = pair(world)
    marks = {node: len(node.log()) for node in storage.nodes.values()}
    net.keep_from_etcd("alpha", "beta")
    net.part()
    for node in storage.nodes.values():
        wait_log(node, "etcd cannot be had", marks[node])
    # What was on its way comes to its end.
    wait_for(lambda: load.answers_since(time.monotonic() - 0.5) == 0, "nobody to be answered any more")
    at = time.monotonic()
    settle(2)
    check("alone" not in (storage.state("alpha"), storage.state("beta")), "somebody serves without the arbiter")
    check(load.answers_since(at) == 0, "somebody answers without the arbiter")
    net.let_to_etcd("alpha", "beta")
    wait_one_serves(storage, load)
    net.join()
    finish(storage, load)


@test
@needs_root
def etcd_stopped_and_back(world):
    """A pair that is well does not need it; a takeover waits for it, frozen or dead."""
    _, etcd, storage, load = pair(world)
    for owner, other, freeze in (("alpha", "beta", True), ("beta", "alpha", False)):
        mark = len(storage.nodes[other].log())
        etcd.signal(signal.SIGSTOP) if freeze else etcd.stop()
        wait_log(storage.nodes[other], "etcd cannot be had", mark)
        wait_answers(load, 500)
        storage.wait_state(owner, "protected")  # a pair that is well does not need its arbiter
        storage.nodes[owner].kill()
        settle(2)
        check(storage.state(other) != "alone", "it serves without the arbiter")
        etcd.signal(signal.SIGCONT) if freeze else etcd.start()
        wait_one_serves(storage, load, other)
        storage.nodes[owner].start()
        storage.wait_protected(60)
        wait_answers(load)
    finish(storage, load)


@test
@needs_root
def etcd_slow_and_in_and_out(world):
    """It stands still most of the time, while a node dies, comes back, and the links are cut."""
    net, etcd, storage, load = pair(world, calm=False)
    over = threading.Event()

    def stutter():
        while not over.wait(0.03):
            etcd.signal(signal.SIGSTOP)
            over.wait(0.15)
            etcd.signal(signal.SIGCONT)

    thread = threading.Thread(target=stutter)
    thread.start()
    try:
        storage.alpha.kill()
        wait_one_serves(storage, load, "beta")
        storage.alpha.start()
        storage.wait_protected(60)
        for _ in range(3):
            net.keep_from_etcd("alpha")
            net.part()
            settle(0.2)
            net.let_to_etcd("alpha")
            net.join()
            settle(0.2)
        storage.wait_protected(60)
        wait_answers(load)
    finally:
        over.set()
        thread.join()
    finish(storage, load)


@test
@needs_root
def an_old_backup_changes_nothing(world):
    _, etcd, storage, load = pair(world)
    backup = world.dir / "backup"
    etcd.stop()
    shutil.copytree(etcd.data, backup)
    etcd.start()
    storage.alpha.kill()
    wait_one_serves(storage, load, "beta")
    storage.alpha.start()
    storage.wait_protected(60)
    etcd.stop()
    shutil.rmtree(etcd.data)
    shutil.copytree(backup, etcd.data)
    etcd.start()
    storage.alpha.kill()
    wait_log(storage.beta, "old backup")
    settle(1)
    check(storage.state("beta") != "alone", "it goes on by an old record")
    # Nor after a start, when it has seen nothing but its own copy.
    storage.beta.kill()
    storage.beta.start()
    storage.alpha.start()
    wait_log(storage.alpha, "old backup")
    check("alone" not in (storage.state("alpha"), storage.state("beta")), "somebody serves by an old record")
    # A person knows who served last.
    wait_for(lambda: storage.group("beta")["copy"]["condition"] == "whole", "beta to have read its log")
    storage.beta.cli("takeover", "g1", "--force")
    finish(storage, load)


if __name__ == "__main__":
    main()
