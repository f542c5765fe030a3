#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nodes die, freeze and come back under a load whose every answer is checked: no acknowledged write is lost, no read is stale,
and somebody serves."""
import os
import random
import signal
import threading
import time

from lib import check, main, needs_root, test, wait_for
from nbd_load import WRITE, Gone, Load, Nbd, block_of
from net import Net
from storage import Storage

FREEZES = int(os.environ.get("FREEZE_ROUNDS", "3" if os.environ.get("SANITIZE") else "10"))
ROUNDS = int(os.environ.get("KILL_ROUNDS", "5" if os.environ.get("SANITIZE") else "20"))


def begin(world, calm=True, **options):
    """calm: nobody is lost but by the test, whose next step goes by what each copy holds. Or timers that say so."""
    storage = Storage(world, **options)
    if calm:
        storage.calm(**(calm if isinstance(calm, dict) else {}))
    storage.start().wait_protected()
    load = Load(storage.exports("disk1"), blocks=512).start()
    wait_answers(load)
    return storage, load


def wait_answers(load, count=100, timeout_s=20):
    at = time.monotonic()
    wait_for(lambda: load.answers_since(at) >= count, "answers to the load", timeout_s)
    check(not load.wrong, f"wrong: {load.wrong[:5]}")


def finish(storage, load):
    load.stop()
    wrong = load.verify()
    check(not wrong, f"{len(wrong)} wrong: {wrong[:5]}")
    storage.check_copies()


@test
def owner_killed_and_back(world):
    storage, load = begin(world)
    storage.alpha.kill()
    wait_answers(load)
    storage.wait_state("beta", "alone")
    storage.alpha.start()
    storage.wait_protected(30)
    check(storage.group("beta")["owner"] == "beta", "the group moved back by itself")
    wait_answers(load)
    finish(storage, load)


@test
def shadow_killed_and_back(world):
    storage, load = begin(world)
    storage.beta.kill()
    storage.wait_state("alpha", "alone")
    wait_answers(load)
    storage.beta.start()
    storage.wait_protected(30)
    wait_answers(load)
    finish(storage, load)


@test
def owner_back_within_the_detection_time(world):
    storage, load = begin(world)
    storage.alpha.kill()
    storage.alpha.start()
    storage.wait_protected(30)
    wait_answers(load)
    finish(storage, load)


@test
def two_takeovers_in_a_row(world):
    storage, load = begin(world)
    for first, second in (("alpha", "beta"), ("beta", "alpha"), ("alpha", "beta")):
        storage.nodes[first].kill()
        storage.wait_state(second, "alone")
        wait_answers(load)
        storage.nodes[first].start()
        storage.wait_protected(30)
        wait_answers(load)
    finish(storage, load)


@test
def both_killed_and_started_in_either_order(world):
    storage, load = begin(world)
    for first, second in (("alpha", "beta"), ("beta", "alpha")):
        for node in (first, second):
            storage.nodes[node].kill()
        storage.nodes[first].start()
        time.sleep(0.3)  # not a wait for anything: the head start that the first one gets
        storage.nodes[second].start()
        storage.wait_protected(30)
        wait_answers(load)
    finish(storage, load)


@test
def planned_handover_and_giveback(world):
    storage, load = begin(world)
    storage.alpha.cli("handover", "g1")
    wait_for(lambda: (storage.group("beta") or {}).get("owner") == "beta", "beta to own the group", 15)
    storage.wait_protected()
    wait_answers(load)
    storage.beta.cli("giveback", "g1")
    wait_for(lambda: (storage.group("alpha") or {}).get("owner") == "alpha", "alpha to own the group", 15)
    storage.wait_protected()
    wait_answers(load)
    finish(storage, load)


@test
def owner_frozen_overwritten_and_thawed(world):
    storage, load = begin(world)
    for _ in range(3):
        owner = storage.group("alpha")["owner"]
        other = "beta" if owner == "alpha" else "alpha"
        storage.nodes[owner].signal(signal.SIGSTOP)
        try:
            storage.wait_state(other, "alone")
            wait_answers(load, 500)
        finally:
            storage.nodes[owner].signal(signal.SIGCONT)
        storage.wait_protected(30)
        check(storage.group("alpha")["owner"] == other, "ownership went back by itself")
        wait_answers(load)
    finish(storage, load)


@test
def write_queued_in_an_old_nbdkit_never_lands(world):
    storage = Storage(world).calm().start().wait_protected()
    old = Nbd(storage.export("alpha", "disk1"))
    old.ask(WRITE, 0, data=block_of(1, 0, 1))
    frozen = storage.servers[("alpha", "disk1")]
    frozen.send_signal(signal.SIGSTOP)
    try:
        old.submit(WRITE, 0, data=block_of(1, 0, 2))
        storage.alpha.kill()
        storage.wait_state("beta", "alone")
        new = Nbd(storage.export("beta", "disk1"), timeout_s=60)
        new.ask(WRITE, 0, data=block_of(1, 0, 3))
        storage.alpha.start()
        storage.wait_protected(30)
        storage.beta.cli("giveback", "g1")
        wait_for(lambda: (storage.group("alpha") or {}).get("owner") == "alpha", "alpha to own the group", 15)
        storage.wait_protected()
    finally:
        frozen.send_signal(signal.SIGCONT)
    try:
        old.receive()
        check(False, "the old connection was answered")
    except Gone:
        pass
    now = Nbd(storage.export("alpha", "disk1"), timeout_s=60)
    check(now.ask(0, 0, 4096) == block_of(1, 0, 3), "the queued write landed")


@test
def nbdkit_killed(world):
    storage, load = begin(world)
    storage.servers[("alpha", "disk1")].kill()
    storage.servers[("alpha", "disk1")].wait()
    storage.serve("alpha", "disk1")
    wait_answers(load)
    finish(storage, load)


def owner_of(storage):
    return next((name for name in storage.nodes if (storage.group(name) or {}).get("role") == "owner"), None)


def hand_over(storage):
    """Begins one, whatever becomes of it; None where nobody owns the group now."""
    owner = owner_of(storage)
    if not owner:
        return None
    asking = threading.Thread(target=storage.nodes[owner].cli_code, args=("handover", "g1"))
    asking.start()
    return asking


@test
def frozen_at_random_moments(world):
    """The owner, or the shadow; also within a hand-over, and thawed before or after the other one has gone on without it."""
    storage, load = begin(world, calm=False)
    dice = random.Random(int(os.environ.get("KILL_SEED", "1")))
    for number in range(FREEZES):
        time.sleep(dice.random() * 0.2)  # not a wait for anything: the random moment
        victim = dice.choice(("alpha", "alpha", "beta", "beta", owner_of(storage) or "alpha"))
        giving = hand_over(storage) if dice.random() < 0.3 else None
        if giving:
            time.sleep(dice.random() * 0.08)
        storage.nodes[victim].signal(signal.SIGSTOP)
        time.sleep(dice.choice((0.05, 0.3, 1.0, 2.0)))  # how long it stands still
        storage.nodes[victim].signal(signal.SIGCONT)
        if giving:
            giving.join(60)
        if dice.random() < 0.7:
            storage.wait_protected(60)
        wait_answers(load, timeout_s=60)
        print(f"     round {number}: {victim}{' within a hand-over' if giving else ''}", flush=True)
    storage.wait_protected(60)
    finish(storage, load)


@test
def killed_at_random_moments(world):
    """Either daemon, both, or nbdkit; also while the last fault is still being mended, and within a hand-over."""
    storage, load = begin(world, calm=False)
    dice = random.Random(int(os.environ.get("KILL_SEED", "1")))
    for number in range(ROUNDS):
        victims = dice.choice((["alpha"], ["beta"], ["alpha", "beta"], ["nbdkit"]))
        time.sleep(dice.random() * 0.5)  # not a wait for anything: the random moment
        giving = hand_over(storage) if dice.random() < 0.3 else None
        if giving:
            time.sleep(dice.random() * 0.08)  # nor this: hand-overs take about so long
        if victims == ["nbdkit"]:
            key = dice.choice(sorted(storage.servers))
            storage.servers[key].kill()
            storage.servers[key].wait()
            storage.serve(*key)
        else:
            for victim in victims:
                storage.nodes[victim].kill()
            time.sleep(dice.choice((0, 0.05, 1.0)))
            for victim in victims:
                storage.nodes[victim].start(follow=False, wait=False)
        if dice.random() < 0.7:
            storage.wait_protected(60)
        wait_answers(load, timeout_s=60)
        if giving:
            giving.join(60)
        print(f"     round {number}: {'+'.join(victims)}{' within a hand-over' if giving else ''}", flush=True)
    storage.wait_protected(60)
    finish(storage, load)


# ---- partitions


def partition(world, cut, mend, timers="fast"):
    net = Net(world)
    storage, load = begin(world, calm=False, net=net, timers=timers)
    for link in net.links:
        cut(net, link)
    wait_for(lambda: {storage.state("alpha"), storage.state("beta")} & {"alone"}, "one node to go on alone", 20)
    wait_answers(load)
    serving = [name for name in storage.nodes if storage.state(name) == "alone"]
    check(len(serving) == 1, f"{serving} serve")
    for link in net.links:
        mend(net, link)
    storage.wait_protected(60)
    wait_answers(load)
    finish(storage, load)


@test
@needs_root
def all_cables_pulled(world):
    partition(world, lambda net, link: net.cut("beta", link), lambda net, link: net.mend("beta", link))


@test
@needs_root
def all_links_drop_silently(world):
    partition(world, lambda net, link: net.drop("alpha", link), lambda net, link: net.undrop("alpha", link))


@test
@needs_root
def all_links_lose_one_way(world):
    partition(world, lambda net, link: net.drop_one_way("beta", link), lambda net, link: net.undrop_one_way("beta", link))


@test
@needs_root
def links_flap(world):
    net = Net(world)
    storage, load = begin(world, calm=False, net=net)
    for _ in range(5):
        for link in net.links:
            net.cut("beta", link)
        time.sleep(0.1)  # not a wait for anything: how long the cables are out
        for link in net.links:
            net.mend("beta", link)
        time.sleep(0.2)
    storage.wait_protected(60)
    wait_answers(load)
    finish(storage, load)


# ---- the driver of a node's interconnect


def shifts(world, fail, mend):
    """The flow moves to beta's shelf by itself: alpha's clients reconnect there, and nothing that was acknowledged is lost."""
    net = Net(world)
    storage, load = begin(world, net=net, timers="fast")
    at, told = time.monotonic(), len(storage.alpha.log())
    fail(net, storage)
    wait_for(lambda: owner_of(storage) == "beta", "beta to own the group", 20)
    storage.wait_state("beta", "alone")
    storage.wait_state("alpha", "stale", "waiting")
    wait_answers(load)
    check(load.answers_since(at) >= 100, "users are not served")
    storage.alpha.wait_log("the interconnect driver of this node has failed")
    check("group g1: alone" not in storage.alpha.log()[told:], "alpha went on by itself")
    check("driver of this node has failed" in storage.alpha.cli("failover"), "carrick failover does not say it")
    mend(net, storage)
    storage.wait_protected(60)
    check(owner_of(storage) == "beta", "the group moved back by itself")
    storage.beta.cli("giveback", "g1")
    wait_for(lambda: owner_of(storage) == "alpha", "alpha to own the group again", 15)
    storage.wait_protected(30)
    wait_answers(load)
    finish(storage, load)


@test
@needs_root
def driver_of_the_owner_switched_off(world):
    """Every interface of alpha is down, as a driver leaves it that was unloaded; beta only sees no carrier."""
    shifts(world, lambda net, _: [net.cut("alpha", link) for link in net.links],
           lambda net, _: [net.mend("alpha", link) for link in net.links])


@test
@needs_root
def links_of_the_owner_taken_down(world):
    shifts(world, lambda net, storage: [storage.alpha.cli("link", "down", link) for link in net.links],
           lambda net, storage: [storage.alpha.cli("link", "up", link) for link in net.links])


@test
@needs_root
def driver_of_the_owner_where_nobody_takes_over(world):
    """Its partner is killed in the same moment: the owner stops, waits for it in vain, and goes on alone."""
    net = Net(world)
    # Its partner does not come to take over between the last cable and its own end.
    storage, load = begin(world, calm={"gone_ms": 2000, "still_ms": 2000, "stall_ms": 2000}, net=net, timers="fast")
    for link in net.links:
        net.cut("alpha", link)
    storage.beta.kill()
    storage.wait_state("alpha", "alone", timeout_s=30)
    storage.alpha.wait_log("group g1: stops serving: the interconnect driver")  # it gave way first
    wait_answers(load)
    for link in net.links:
        net.mend("alpha", link)
    storage.beta.start(follow=False, wait=False)
    storage.wait_protected(60)
    check(owner_of(storage) == "alpha", "the group moved")
    finish(storage, load)


@test
@needs_root
def one_device_of_two_shifts_nothing(world):
    net = Net(world)
    storage, load = begin(world, net=net, timers="fast")
    net.cut("alpha", "left")
    wait_for(lambda: storage.alpha.link("left")["state"] != "up", "the link to be down")
    wait_answers(load, 500)
    check(owner_of(storage) == "alpha" and storage.state("alpha") == "protected", "the group moved, or lost its shadow")
    net.mend("alpha", "left")
    finish(storage, load)


@test
@needs_root
def driver_of_the_shadow_shifts_nothing(world):
    net = Net(world)
    storage, load = begin(world, net=net, timers="fast")
    for link in net.links:
        net.cut("beta", link)
    storage.wait_state("alpha", "alone", timeout_s=20)
    wait_answers(load, 500)
    check(owner_of(storage) == "alpha", "the group moved")
    for link in net.links:
        net.mend("beta", link)
    storage.wait_protected(60)
    finish(storage, load)


@test
@needs_root
def driver_of_the_owner_may_fail_where_it_is_to_stay(world):
    net = Net(world)
    storage, load = begin(world, net=net, timers="fast", on_driver_failure="stay")
    for link in net.links:
        net.cut("alpha", link)
    storage.wait_state("alpha", "alone", timeout_s=20)
    wait_answers(load)
    check(owner_of(storage) == "alpha", "the group moved")
    for link in net.links:
        net.mend("alpha", link)
    storage.wait_protected(60)
    finish(storage, load)


if __name__ == "__main__":
    main()
