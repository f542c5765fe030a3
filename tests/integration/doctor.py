#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`carrick doctor` on made-up trees: what a kernel tells of modules, devices, ports, GIDs, interfaces, memory and
mounts. Each thing that stands in the way is found, with the command that mends it, and nothing is found on a node where
all is well. The partner is a socket of the test's own."""
import json
import os
import shutil
import socket
import subprocess

from lib import BUILD, LOOPBACK, CommandError, check, free_port, main, manager, needs_root, run, tcp_link, test

MIB = 1 << 20
ALPHA, BETA = "10.0.1.1", LOOPBACK  # the partner is this test
FAR = "10.83.2.2"


class Tree:
    """A root directory with what the doctor reads."""

    def __init__(self, world):
        self.world, self.root, self.beta = world, world.dir / "root", BETA
        self.put("proc/sys/kernel/osrelease", "6.1.0-1-test")
        self.put("proc/mounts", "none / ext4 rw 0 0\nnone /dev/shm tmpfs rw 0 0\nnone /huge hugetlbfs rw 0 0\n")
        self.put("proc/self/limits", "Max locked memory         unlimited            unlimited            bytes\n")
        self.put("proc/self/status", "Name:\tcarrick\nCapEff:\t0000000000000000\n")
        self.put("lib/modules/6.1.0-1-test/modules.dep",
                 "kernel/drivers/infiniband/core/ib_uverbs.ko.xz: kernel/x.ko\n"
                 "kernel/drivers/infiniband/core/rdma_ucm.ko.xz:\nkernel/drivers/infiniband/sw/rxe/rdma_rxe.ko:\n")
        for module in ("ib_uverbs", "rdma_ucm"):
            (self.root / f"sys/module/{module}").mkdir(parents=True)
        for name in ("rdma_cm", "uverbs0"):
            self.put(f"dev/infiniband/{name}", "")
        for name in ("verbs", "iwarp", "tcp"):
            self.put(f"{str(BUILD).lstrip('/')}/plugins/{name}.so", "")
        self.interface("eth0", "02:00:00:00:00:01")
        self.put("doctor/addresses", f"eth0 {ALPHA}\nlo {LOOPBACK}\n")
        self.key = str(world.key)
        self.put(self.key.lstrip("/"), "k" * 44).chmod(0o600)

    def put(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def take_away(self, path):
        file = self.root / path
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink()

    def interface(self, name, mac, mtu=4200, state="up"):
        for key, value in (("address", mac), ("mtu", mtu), ("operstate", state)):
            self.put(f"sys/class/net/{name}/{key}", f"{value}\n")

    def roce(self, device="rxe0", netdev="eth0", address=ALPHA, state="4: ACTIVE", version="RoCE v2"):
        port = f"sys/class/infiniband/{device}/ports/1"
        four = "%02x%02x:%02x%02x" % tuple(map(int, address.split(".")))
        self.put(f"sys/class/infiniband/{device}/node_type", "1: CA\n")
        self.put(f"{port}/state", f"{state}\n")
        self.put(f"{port}/link_layer", "Ethernet\n")
        self.put(f"{port}/rate", "100 Gb/sec (4X EDR)\n")
        gids = ["fe80:0000:0000:0000:0000:00ff:fe00:0001", f"0000:0000:0000:0000:0000:ffff:{four}"]
        for index, gid in enumerate(gids):
            self.put(f"{port}/gids/{index}", f"{gid}\n")
            self.put(f"{port}/gid_attrs/types/{index}", f"{version}\n")
            self.put(f"{port}/gid_attrs/ndevs/{index}", f"{netdev}\n")
        return self

    def iwarp(self, device="siw0"):
        port = f"sys/class/infiniband/{device}/ports/1"
        self.put(f"sys/class/infiniband/{device}/node_type", "4: RNIC\n")
        self.put(f"{port}/state", "4: ACTIVE\n")
        self.put(f"{port}/link_layer", "Ethernet\n")
        self.put(f"{port}/gids/0", "0200:0000:0001:0000:0000:0000:0000:0000\n")
        return self

    def config(self, transport="verbs", clients=(), port=None, **local):
        one = {"name": "left", "transport": transport, "nodes": {
            "alpha": {"address": ALPHA, "port": 7471, **local},
            "beta": {"address": self.beta, "port": port or free_port()}}}
        config = self.world.config([manager(links=[one], clients=list(clients))])
        config["key_file"] = self.key
        path = self.world.dir / "doctor.json"
        path.write_text(json.dumps(config))
        return path

    def ask(self, config, *options, within=None):
        """(exit status, {subject: [findings]}); within: the network namespace to ask in."""
        command = [*(["ip", "netns", "exec", within] if within else []), BUILD / "bin/carrick", "doctor",
                   *(["--sysroot", self.root] if self.root else []), "--node", "alpha", "--json", *options]
        try:
            code, text = 0, run(*command, *([config] if config else []))
        except CommandError as error:
            code, text = error.code, error.output
        answer = json.loads(text)
        found = {}
        for finding in answer["findings"]:
            found.setdefault(finding["subject"], []).append(finding)
        check(answer["ok"] == (code == 0), f"'ok' and the exit status disagree: {code} {text}")
        check(all(one["level"] == "ok" or one["mend"] for one in answer["findings"]),
              f"a finding that says nothing of how to mend it: {text}")
        return code, found


def log_client(backing, path, size=16 * MIB):
    return {"name": "nvram", "plugin": "nvram_shadow", "config": {"groups": [
        {"name": "g1", "home": "alpha", "log_bytes": size, "backing": backing, "path": path}]}}


def problems(found):
    return [one for findings in found.values() for one in findings if one["level"] == "problem"]


def expect(answer, subject, words, mend=None, level="problem"):
    code, found = answer
    for one in found.get(subject, []):
        if one["level"] == level and all(word in one["text"] for word in words):
            check(mend is None or (one["mend"] and mend in one["mend"]), f"to be mended by '{mend}': {one}")
            check((code == 1) == bool(problems(found)), f"exit status {code} with {problems(found)}")
            return
    check(False, f"no {level} with {words} for '{subject}': {json.dumps(found, indent=1)}")


# A socket bound to a made-up address cannot dial: those who ask for the partner use loopback for both ends.
def here(tree):
    tree.put("doctor/addresses", f"eth0 {LOOPBACK}\n")
    return {"address": LOOPBACK}


def healthy(world):
    """A node with soft RoCE, on which nothing stands in the way."""
    tree = Tree(world)
    local = here(tree)
    tree.roce(address=LOOPBACK)
    (tree.root / "sys/module/rdma_rxe").mkdir(parents=True)
    return tree, local


@test
def nothing_is_found_where_all_is_well(world):
    tree, local = healthy(world)
    code, found = tree.ask(tree.config(**local))
    check(code == 0 and not problems(found), f"{code}: {problems(found)}")
    texts = [one["text"] for one in found["link left"]]
    check(any("GID 1 of rxe0 port 1, RoCE v2" in text for text in texts), f"{texts}")
    # With a made-up device there is nothing to try it with, and that is said.
    check(any("host answers" in text and "was not tried" in text for text in texts), f"{texts}")
    check("unlimited" not in str(found["locked memory"]) and "any amount" in str(found["locked memory"]), f"{found}")


@test
def a_module_that_is_not_loaded(world):
    tree, local = healthy(world)
    tree.take_away("sys/module/rdma_ucm")
    tree.take_away("dev/infiniband/rdma_cm")
    expect(tree.ask(tree.config(**local)), "module rdma_ucm", ["not loaded"], "modprobe rdma_ucm")
    tree.put("lib/modules/6.1.0-1-test/modules.dep", "kernel/other.ko:\n")
    expect(tree.ask(tree.config(**local)), "module rdma_ucm", ["does not have it"], "grep INFINIBAND")
    for name, command in (("debian", "apt-get install linux-image"), ("ubuntu", "linux-modules-extra"),
                          ("\"rhel\"", "dnf install kernel-modules-extra")):
        tree.put("etc/os-release", f"NAME=some\nID={name}\n")
        expect(tree.ask(tree.config(**local)), "module rdma_ucm", ["does not have it"], command)


@test
def no_device_at_all(world):
    tree = Tree(world)
    local = here(tree)
    answer = tree.ask(tree.config(**local))
    expect(answer, "devices", ["no RDMA device", "1 link wants"], "rdma link add")
    expect(answer, "link left", ["no RDMA device is on eth0"], "rdma link add rxe0 type rxe netdev eth0")
    # Loopback bears none.
    tree.put("doctor/addresses", "")
    expect(tree.ask(tree.config(**local)), "link left", ["of this machine alone"], '"transport": "tcp"')
    # Links over tcp need none.
    code, found = tree.ask(tree.config("tcp", **local))
    check(not problems(found) and "devices" not in found, f"{code}: {found}")


@test
def a_port_that_is_down(world):
    tree, local = healthy(world)
    tree.roce(address=LOOPBACK, state="1: DOWN")
    expect(tree.ask(tree.config(**local)), "device rxe0 port 1", ["1: DOWN", "eth0"], "ip link set eth0 up")
    tree.put("sys/class/infiniband/rxe0/ports/1/link_layer", "InfiniBand\n")
    tree.put("sys/class/infiniband/rxe0/ports/1/state", "2: INIT\n")
    expect(tree.ask(tree.config(**local)), "device rxe0 port 1", ["no subnet manager"], "opensm")
    tree.put("sys/class/infiniband/rxe0/ports/1/state", "1: DOWN\n")
    tree.put("sys/class/infiniband/rxe0/ports/1/phys_state", "2: Polling\n")
    expect(tree.ask(tree.config(**local)), "device rxe0 port 1", ["Polling", "cable"], "ibstat rxe0 1")
    tree.put("sys/class/infiniband/rxe0/ports/1/phys_state", "3: Disabled\n")
    expect(tree.ask(tree.config(**local)), "device rxe0 port 1", ["switched off"], "ibportstate -C rxe0 -P 1")


@test
def an_address_without_a_gid(world):
    tree, local = healthy(world)
    tree.roce(address="10.9.9.9")
    expect(tree.ask(tree.config(**local)), "link left", ["no GID", LOOPBACK], "eth0")
    tree.roce(address=LOOPBACK, version="IB/RoCE v1")
    expect(tree.ask(tree.config(**local)), "link left", ["v1 only"], "default_roce_mode", "warning")


@test
def an_address_that_is_not_here(world):
    tree, _ = healthy(world)
    expect(tree.ask(tree.config(address="10.0.1.77")), "link left", ["no interface", "10.0.1.77"],
           "ip address add 10.0.1.77/24")


@test
def an_interface_that_is_down(world):
    tree, local = healthy(world)
    tree.interface("eth0", "02:00:00:00:00:01", state="down")
    expect(tree.ask(tree.config(**local)), "link left", ["eth0 is down"], "ip link set eth0 up")


@test
def a_small_mtu(world):
    tree, local = healthy(world)
    tree.interface("eth0", "02:00:00:00:00:01", mtu=1000)
    expect(tree.ask(tree.config(**local)), "link left", ["MTU 1000", "512 bytes"], "mtu 4200", "warning")


@test
def an_interface_of_which_nothing_can_be_read(world):
    tree, local = healthy(world)
    for name in ("mtu", "operstate"):
        (tree.root / f"sys/class/net/eth0/{name}").unlink()
    code, found = tree.ask(tree.config("tcp", **local))
    texts = [one["text"] for one in found["link left"]]
    check(any("does not tell its state and MTU" in text for text in texts) and not any("-1" in text for text in texts), f"{texts}")


@test
def another_device_than_the_configuration_says(world):
    tree, local = healthy(world)
    expect(tree.ask(tree.config(device="mlx5_0", **local)), "link left", ["mlx5_0", "rxe0"], '"device": "rxe0"')


@test
def an_iwarp_device(world):
    tree = Tree(world)
    local = here(tree)
    tree.iwarp()
    (tree.root / "sys/module/siw").mkdir(parents=True)
    code, found = tree.ask(tree.config("iwarp", **local))
    check(code == 0 and not problems(found), f"{problems(found)}")
    check(any("siw0 port 1" in one["text"] for one in found["link left"]), f"{found['link left']}")
    answer = tree.ask(tree.config("verbs", **local))
    expect(answer, "link left", ["iWARP device"], '"transport": "iwarp"')
    # Nothing is dialled in vain.
    expect(answer, "link left", ["was not tried", "problem of its own"], "carrick doctor # again", "warning")


@test
def a_transport_that_is_not_there(world):
    tree, local = healthy(world)
    for name, right in (("roce", '"transport": "verbs"'), ("siw", '"transport": "iwarp"'), ("nonsense", '"verbs" for InfiniBand')):
        expect(tree.ask(tree.config(name, **local)), "link left", [f'no plugin for the transport "{name}"'], right)
    tree.take_away(f"{str(BUILD).lstrip('/')}/plugins/verbs.so")
    # One that is right in name, and lies elsewhere: it is said where it was looked for.
    tree.take_away(f"{str(BUILD).lstrip('/')}/plugins/tcp.so")
    expect(tree.ask(tree.config("tcp", **local)), "link left", [f"no tcp.so in {BUILD}/plugins"], '"plugin_dirs"')
    config = tree.config(**local)
    expect(tree.ask(config), "link left", ["left out of a build without rdma-core"], "scripts/deps build rdma")
    # One that is there and cannot be loaded, on this machine itself.
    directory = world.dir / "plugins"
    directory.mkdir()
    (directory / "verbs.so").write_text("no shared object")
    text = json.loads(config.read_text())
    text["plugin_dirs"] = [str(directory)]
    config.write_text(json.dumps(text))
    tree.root = None
    expect(tree.ask(config), "link left", ["cannot be loaded"], f"carrick plugin inspect {directory}/verbs.so")


@test
def too_little_locked_memory(world):
    tree, local = healthy(world)
    config = tree.config(clients=[log_client("memory", "")], **local)
    text = json.loads(config.read_text())
    del text["managers"][0]["clients"][0]["config"]["groups"][0]["path"]
    config.write_text(json.dumps(text))
    limits = "Max locked memory         8388608              8388608              bytes\n"
    tree.put("proc/self/limits", limits)
    expect(tree.ask(config), "locked memory", ["20 MiB", "8 MiB"], "ulimit -l unlimited", "warning")
    # Who is not limited by it: a privileged process.
    tree.put("proc/self/status", "CapEff:\t0000000000004000\n")
    check(tree.ask(config)[1]["locked memory"][0]["level"] == "ok", "a privileged caller is limited")
    # The daemon that runs counts, not the caller.
    tree.put("proc/77/comm", "carrickd\n")
    tree.put("proc/77/limits", limits)
    tree.put("proc/77/status", "CapEff:\t0000000000000000\n")
    expect(tree.ask(config), "locked memory", ["process 77"], "LimitMEMLOCK=infinity")


@test
def huge_pages_and_mounts(world):
    tree, local = healthy(world)
    pages = "sys/kernel/mm/hugepages/hugepages-2048kB"
    tree.put(f"{pages}/nr_hugepages", "10\n")
    tree.put(f"{pages}/free_hugepages", "4\n")
    config = tree.config(clients=[log_client("hugetlbfs", "/huge/%n.log")], **local)
    expect(tree.ask(config), "log of group g1", ["9 huge pages", "4 are free"], "vm.nr_hugepages=15")
    tree.put(f"{pages}/free_hugepages", "9\n")
    check(not problems(tree.ask(config)[1]), "enough huge pages are a problem")
    config = tree.config(clients=[log_client("hugetlbfs", "/srv/%n.log")], **local)
    expect(tree.ask(config), "log of group g1", ["lies on ext4, not on hugetlbfs"], "mount -t hugetlbfs")
    config = tree.config(clients=[log_client("tmpfs", "/srv/%n.log")], **local)
    expect(tree.ask(config), "log of group g1", ["lies on ext4, not on tmpfs"], "mount -t tmpfs")
    config = tree.config(clients=[log_client("tmpfs", "/dev/shm/%n.log")], **local)
    expect(tree.ask(config), "log of group g1", ["is not there"], "mkdir")
    (tree.root / "dev/shm").mkdir()
    check(not problems(tree.ask(config)[1]), "a tmpfs with room is a problem")
    config = tree.config(clients=[log_client("tmpfs", "/dev/shm/%n.log", 1 << 39)], **local)
    expect(tree.ask(config), "log of group g1", ["512 GiB", "room for"], "remount,size=")
    config = tree.config(clients=[log_client("file", "/dev/shm/%n.log", 1 << 39)], **local)
    tree.put("proc/mounts", "none / ext4 rw 0 0\n")
    expect(tree.ask(config), "log of group g1", ["512 GiB", "room for"], '"log_bytes"')


@test
def the_key(world):
    tree, local = healthy(world)
    key = tree.root / tree.key.lstrip("/")
    key.chmod(0o644)
    expect(tree.ask(tree.config(**local)), "cluster key", ["0644"], "chmod 600")
    key.chmod(0o600)
    key.write_text("short")
    expect(tree.ask(tree.config(**local)), "cluster key", ["5 bytes", "32 to 4096"], "/dev/urandom")
    key.unlink()
    expect(tree.ask(tree.config(**local)), "cluster key", ["No such file"], "/dev/urandom")


@test
def a_partner_that_listens_and_one_that_does_not(world):
    tree, local = healthy(world)
    with socket.create_server((LOOPBACK, 0)) as listener:
        code, found = tree.ask(tree.config("tcp", port=listener.getsockname()[1], **local))
        check(code == 0 and any("partner answers" in one["text"] for one in found["link left"]), f"{found}")
    expect(tree.ask(tree.config("tcp", **local)), "link left", ["nobody listens"], "systemctl start carrickd # on beta", "warning")
    # From an address that this machine does not have nothing can be dialled.
    tree.put("doctor/addresses", f"eth0 {ALPHA}\n")
    expect(tree.ask(tree.config("tcp")), "link left", ["does not answer"], "ping")


@test
def a_partner_whose_name_nobody_knows(world):
    tree, local = healthy(world)
    config = tree.config("tcp", **local)
    text = json.loads(config.read_text())
    text["managers"][0]["links"][0]["nodes"]["beta"]["address"] = "beta.invalid"
    config.write_text(json.dumps(text))
    expect(tree.ask(config), "link left", ["beta.invalid is unknown"], "/etc/hosts")


@test
@needs_root
def the_mtu_on_the_way(world):
    """Two nodes and a router between them, at whose far side less goes through."""
    tree, _ = healthy(world)
    here, router, there = (f"carrick-doctor-{name}-{os.getpid()}" for name in ("here", "router", "there"))

    def link(space, name, address, to_space, to_name, to_address):
        run("ip", "-n", space, "link", "add", name, "type", "veth", "peer", "name", to_name, "netns", to_space)
        for where, card, own in ((space, name, address), (to_space, to_name, to_address)):
            run("ip", "-n", where, "addr", "add", own, "dev", card)
            run("ip", "-n", where, "link", "set", card, "up")

    def ask(near=1500, far=1500, back=1500):
        for where, card, mtu in ((here, "near", near), (router, "near", near), (router, "far", far), (there, "far", far)):
            run("ip", "-n", where, "link", "set", card, "mtu", mtu)
        run("ip", "-n", there, "route", "replace", "10.83.1.0/24", "via", "10.83.2.1", "mtu", back)
        tree.interface("eth0", "02:00:00:00:00:01", mtu=near)
        return tree.ask(tree.config("tcp", address="10.83.1.2"), within=here)

    tree.put("doctor/addresses", "eth0 10.83.1.2\n")
    try:
        for space in (here, router, there):
            run("ip", "netns", "add", space)
        link(here, "near", "10.83.1.2/24", router, "near", "10.83.1.1/24")
        link(router, "far", "10.83.2.1/24", there, "far", f"{FAR}/24")
        run("ip", "netns", "exec", router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        run("ip", "-n", here, "route", "add", "10.83.2.0/24", "via", "10.83.1.1")
        tree.beta = FAR
        texts = [one["text"] for one in ask()[1]["link left"]]
        check(any("packets of 1500 bytes reach the partner and come back whole" in text for text in texts), f"{texts}")
        # The router says what it takes; the partner answers in fragments; a switch would say nothing.
        expect(ask(far=1000), "link left", ["MTU is 1500", "about 1000"], "mtu 1500 # on beta, for what has 10.83.2.2", "warning")
        expect(ask(back=1000), "link left", ["MTU is 1500", "about 996"], "mtu 1500 # on beta", "warning")
        run("ip", "netns", "exec", router, "iptables", "-w", "-A", "FORWARD", "-m", "length", "--length", "1200:", "-j", "DROP")
        expect(ask(), "link left", ["MTU is 1500", "no packets as long"], "mtu 1500 # on beta", "warning")
        run("ip", "netns", "exec", router, "iptables", "-w", "-A", "FORWARD", "-p", "icmp", "-j", "DROP")
        expect(ask(), "link left", ["was not checked"], "ping -c 1 -M do -s 1472", "warning")
    finally:
        for space in (here, router, there):
            subprocess.run(["ip", "netns", "del", space], check=False, stderr=subprocess.DEVNULL)


@test
def one_cable_for_both_links(world):
    tree, _ = healthy(world)
    links = [tcp_link(name, (LOOPBACK, free_port()), (LOOPBACK, free_port())) for name in ("left", "right")]
    path = world.dir / "two.json"
    config = world.config([manager(links=links)])
    config["key_file"] = tree.key
    path.write_text(json.dumps(config))
    expect(tree.ask(path), "links", ["all 2 links", "eth0"], None, "warning")


@test
def without_a_configuration_and_with_a_wrong_one(world):
    tree, _ = healthy(world)
    bad = world.dir / "bad.json"
    bad.write_text("{")
    code, found = tree.ask(bad)
    check(code == 1 and "bad.json" in found["configuration"][0]["mend"], f"{code} {found}")
    run(BUILD / "bin/carrick", "doctor", "--help")
    try:
        run(BUILD / "bin/carrick", "doctor", "--manager", "x")
        check(False, "--manager is taken")
    except CommandError as error:
        check(error.code == 2, f"{error}")


if __name__ == "__main__":
    main()
