# SPDX-License-Identifier: Apache-2.0
"""A node that boots from an image that initramfs-tools made: its stages are seen from the initramfs on, the instance there
ends before the switch to a root file system that comes late, and the partner waits for it through the gap."""
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile

from machine import TOP, Skip, check, wait_for
from node import ROCE, TCP_BESIDE_IWARP, manager, need_plugins, pair
from suite import by_name, case

GUESTS = 2
DISKS = [64]  # for the logs, which outlive the power
ORDER = 80

LATE_S = 20  # the root file system comes so long after the drivers
BOOT_WAIT_MS = 7000  # a partner that is not seen is waited for so long
LATE = f"""#!/bin/sh
case "${{1:-}}" in prereqs) exit 0 ;; esac
sleep {LATE_S}
"""


def release(lab):
    return next((lab.kit / "root/lib/modules").iterdir()).name


def put(path, text, mode=0o755):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def put_packaging(lab, place):
    """What `make install` puts there, with the paths of this lab."""
    paths = {"@sbindir@": f"{lab.build}/bin", "@bindir@": f"{lab.build}/bin", "@datadir@": f"{place}/share",
             "@sysconfdir@": f"{place}/etc"}
    source = TOP / "packaging/initramfs-tools"
    for file in [path for path in source.rglob("*") if path.is_file()]:
        text = file.read_text()
        for name, path in paths.items():
            text = text.replace(name, path)
        name = file.relative_to(source)
        target = place / "share/carrick/initramfs" if file.name == "carrick-early" else place / "conf"
        put(target / name, text)


def put_configuration(place, node, key):
    settings = json.loads(json.dumps(node.settings))
    settings["key_file"] = f"{place}/etc/carrick/key"
    # Where plugins lie is no business of the partner's.
    settings["plugin_dirs"] = [one for one in settings["plugin_dirs"] if not one.startswith("/host")]
    put(place / "etc/carrick/carrick.json", json.dumps(settings), 0o644)
    put(place / "etc/carrick/key", key, 0o600)
    soft = "rxe0=rxe@eth0" if any(one["transport"] == "verbs" for one in settings["managers"][0]["links"]) else ""
    put(place / "etc/carrick/initramfs.conf",
        f"NODE=alpha\nADDRESSES='eth0=10.0.1.1/24 eth1=10.0.2.1/24'\nSOFT_RDMA='{soft}'\n", 0o644)


def make_image(lab, place):
    """mkinitramfs, in a mount namespace in which the kernel's modules are where it looks for them."""
    if not shutil.which("mkinitramfs", path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
        raise Skip("needs the command mkinitramfs (package initramfs-tools-core)")
    put(place / "conf/initramfs.conf", "MODULES=list\nBUSYBOX=auto\nCOMPRESS=gzip\nBOOT=local\nRUNSIZE=20%\n", 0o644)
    put(place / "conf/modules", "virtio_pci\nvirtio_net\nvirtio_blk\next4\n", 0o644)
    put(place / "conf/scripts/local-premount/late", LATE)
    put(place / f"boot/config-{release(lab)}", "CONFIG_RD_GZIP=y\n", 0o644)
    modules = pathlib.Path("/lib/modules")
    made = not modules.exists()
    modules.mkdir(exist_ok=True)
    try:
        script = f"""mount --bind {shlex.quote(str(lab.kit))}/root/lib/modules /lib/modules
            mount --bind {place}/boot /boot
            PATH=$PATH:/usr/sbin:/sbin mkinitramfs -d {place}/conf -o {place}/image {release(lab)}"""
        done = subprocess.run(["unshare", "-m", "sh", "-ec", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
    finally:
        if made:
            modules.rmdir()
    check(done.returncode == 0 and "without carrickd" not in done.stdout, f"mkinitramfs: {done.stdout}")


def make_root(lab, place):
    """A root file system that is this lab's own guest: after the switch commands can be run as ever."""
    root = place / "root"
    root.mkdir()
    with open(lab.dir / "initramfs", "rb") as archive:
        data = archive.read()
    # Archives one behind the other.
    subprocess.run(["sh", "-c", "while cpio -id --quiet 2>/dev/null; do :; done"], input=data, cwd=root, check=True)
    for name in ("proc", "sys", "dev", "run", "tmp", "etc"):
        (root / name).mkdir(exist_ok=True)
    with open(place / "root.img", "wb") as disk:
        disk.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-d", root, place / "root.img"], check=True,
                   env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin"))


def mount_data(guest, fresh=False):
    make = "mkfs.ext4 -q /dev/vda && " if fresh else ""
    guest.run(f"/run/modprobe -a virtio_blk ext4; {make}mkdir -p /data && mount /dev/vda /data", 60)


def partner(node):
    return json.loads(node.cli("client failover status --json"))["partner"]


def group(node):
    return json.loads(node.cli("client failover status --json"))["groups"][0]


def wait_stage(node, stage, timeout_s):
    wait_for(lambda: (node.manager_status()["partner"] or {}).get("boot_stage") == stage,
             f"{node.name} to see its partner at stage {stage}", timeout_s, 0.2)


def both_lost_power(lab, links):
    """A pair that was protected, with its logs on disks; both machines are off."""
    nvram = {"name": "nvram", "plugin": "nvram_shadow", "config": {"groups": [
        {"name": "g1", "home": "alpha", "log_bytes": 4 << 20, "backing": "file", "path": "/data/g1.log",
         "level": "persistent"}]}}
    # Without one a copy that was behind is never said to be equal.
    shelf = {"name": "shelf", "plugin": "shelf", "config": {"socket": "/run/carrick-%n.block", "shelves": [
        {"name": "disk1", "group": "g1", "path": "/data/disk1.img", "bytes": 4 << 20}]}}
    failover = {"name": "failover", "plugin": "failover", "config": {
        "timers": {"boot_wait_ms": BOOT_WAIT_MS, "gone_ms": 3000, "still_ms": 6000, "stall_ms": 12000, "boot_ms": 900000},
        "on_mirror_loss": "continue"}}
    alpha, beta = pair(lab, [manager(links, [nvram, shelf, failover], profile="normal")], start=False)
    for node in (alpha, beta):
        mount_data(node.guest, fresh=True)
        node.start()
    for node in (alpha, beta):
        wait_for(lambda node=node: group(node)["state"] == "protected", f"{node.name} to be protected", 60, 0.3)
    for node in (alpha, beta):
        node.guest.run("sync")
    for node in (alpha, beta):
        node.guest.power_cut()
    return alpha, beta


def boots_and_is_waited_for(alpha, beta):
    alpha.guest.power_on()
    beta.guest.power_on().wait_boot()
    mount_data(beta.guest)
    # Until the network of its initramfs is there, a machine that boots is as good as one that is off.
    wait_for(lambda: beta.guest.run_code("ping -c 1 -W 1 10.0.2.1")[0] == 0, "alpha's initramfs to set its addresses", 120, 0.5)
    beta.start()
    wait_stage(beta, "initramfs", 60)
    wait_for(lambda: partner(beta).get("boot_age_ms", 0) > BOOT_WAIT_MS, "beta to have waited", 60, 0.5)
    check(group(beta)["state"] == "waiting", f"{group(beta)}")
    first = beta.manager_status()["partner"]["incarnation"]
    wait_stage(beta, "root", 60)
    # Its own system: nothing of it can be read before its daemon has started.
    alpha.guest.wait_boot()
    check(alpha.guest.run_code("pidof carrickd")[0] != 0, "the instance in the initramfs has not ended")
    before = partner(beta)["boot_age_ms"]
    wait_for(lambda: partner(beta)["boot_age_ms"] > before + BOOT_WAIT_MS, "the gap to be long", 60, 0.5)
    check(group(beta)["state"] == "waiting" and group(beta)["takeovers"] == 0, f"in the gap: {group(beta)}")
    mount_data(alpha.guest)
    alpha.start(options="--boot-stage services")
    wait_stage(beta, "services", 60)
    check(beta.manager_status()["partner"]["incarnation"] != first, "the incarnation has not changed")
    for node in (alpha, beta):
        wait_for(lambda node=node: group(node)["state"] == "protected", f"{node.name} to be protected", 60, 0.3)
    check(group(beta)["takeovers"] == 0 and group(beta)["owner"] == "alpha", f"{group(beta)}")
    alpha.cli("boot-stage serving")
    wait_stage(beta, "serving", 20)


def boot(lab, links):
    alpha, beta = both_lost_power(lab, links)
    plain, disks = alpha.guest.arguments, alpha.guest.disks
    with tempfile.TemporaryDirectory(dir=lab.dir, prefix="boot-") as name:
        place = pathlib.Path(name)
        put_packaging(lab, place)
        put_configuration(place, alpha, alpha.key)
        make_image(lab, place)
        make_root(lab, place)

        def arguments():
            words = plain()
            words[words.index("-initrd") + 1] = str(place / "image")
            words[words.index("-append") + 1] += " root=/dev/vdb rootfstype=ext4 rw init=/init"
            return words

        alpha.guest.disks = [*disks, place / "root.img"]
        alpha.guest.arguments = arguments
        try:
            boots_and_is_waited_for(alpha, beta)
        finally:
            alpha.guest.power_cut()
            del alpha.guest.arguments
            alpha.guest.disks = disks


@by_name
@case
def over_tcp(lab):
    need_plugins(lab, "nvram_shadow", "shelf", "failover")
    boot(lab, [TCP_BESIDE_IWARP])


@case
def over_roce(lab):
    need_plugins(lab, "nvram_shadow", "shelf", "failover", "verbs")
    boot(lab, [ROCE, TCP_BESIDE_IWARP])
