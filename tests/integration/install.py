#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `make install` puts under DESTDIR, and that `make uninstall` takes exactly that away."""
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

TOP = pathlib.Path(os.environ["CARRICK_TOP"])
BUILD = pathlib.Path(os.environ["BUILD"])
# The caller's make with the caller's settings, so that nothing is built anew with others.
MAKE = shlex.split(os.environ.get("CARRICK_MAKE", "make"))
ROOT = "usr/local/"


def make(goal, destdir):
    command = [str(TOP / "scripts/as-owner"), str(BUILD), *MAKE, "--no-print-directory", "-C", str(TOP)]
    done = subprocess.run(
        [*command, f"BUILD={BUILD}", f"DESTDIR={destdir}", goal],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
    )
    assert done.returncode == 0, f"make {goal}:\n{done.stdout}"


def files(destdir):
    return {str(path.relative_to(destdir)) for path in destdir.rglob("*") if not path.is_dir()}


def text(destdir, name):
    return (destdir / ROOT / name).read_text()


def all_is_there(destdir):
    there = files(destdir)
    wanted = {
        "bin/carrick", "sbin/carrickd", "lib/pkgconfig/carrick.pc", "share/carrick/config.schema.json",
        "lib/systemd/system/carrickd.service", "share/bash-completion/completions/carrick",
        "lib/carrick/plugins/tcp.so", "lib/carrick/plugins/fault.so",
        "share/man/man1/carrick.1", "share/man/man5/carrick.json.5", "share/man/man8/carrickd.8",
        "sbin/carrick-host", "lib/libcarrick.a", "lib/libcarrick.so", "lib/pkgconfig/libcarrick.pc",
        "lib/carrick/plugins/nvram_shadow.so", "lib/carrick/plugins/shelf.so", "lib/carrick/plugins/failover.so",
        "lib/carrick/plugins/mailbox.so", "lib/systemd/system/carrick-serving.service",
        "share/carrick/initramfs/carrick-early", "share/initramfs-tools/hooks/carrick",
        "share/initramfs-tools/conf-hooks.d/carrick",
    }
    if (BUILD / "plugins/etcd.so").exists():
        wanted.add("lib/carrick/plugins/etcd.so")
    if (BUILD / "nbdkit/nbdkit-carrick-plugin.so").exists():
        wanted.add("lib/nbdkit/plugins/nbdkit-carrick-plugin.so")
    wanted |= {f"share/initramfs-tools/scripts/{stage}/carrick"
               for stage in ("init-premount", "local-bottom", "nfs-bottom", "init-bottom")}
    wanted |= {f"include/carrick/{header.name}" for header in (TOP / "include/carrick").glob("*.h")}
    missing = {ROOT + name for name in wanted} - there
    assert not missing, f"missing: {sorted(missing)}"


def nothing_of_tests_is_there(destdir):
    plugins = {path.stem for path in (destdir / ROOT / "lib/carrick/plugins").iterdir()}
    assert "sim" not in plugins
    assert not plugins & {path.stem for path in (BUILD / "test-plugins").glob("*.so")}


def pkg_config_answers(destdir):
    def ask(*words):
        env = dict(os.environ, PKG_CONFIG_PATH=str(destdir / ROOT / "lib/pkgconfig"))
        return subprocess.run(
            ["pkg-config", *words, "carrick"], env=env, check=True, stdout=subprocess.PIPE, text=True
        ).stdout.strip()

    types = (TOP / "include/carrick/types.h").read_text()
    for part in ("major", "minor"):
        in_header = re.search(rf"#define CARRICK_ABI_{part.upper()} (\d+)", types).group(1)
        assert ask(f"--variable=abi_{part}") == in_header
    assert ask("--variable=plugindir") == "/usr/local/lib/carrick/plugins"


def paths_are_filled_in(destdir):
    for name in ("lib/pkgconfig/carrick.pc", "lib/systemd/system/carrickd.service",
                 "share/initramfs-tools/hooks/carrick", "share/carrick/initramfs/carrick-early"):
        assert not re.search(r"@[a-z_]+@", text(destdir, name)), name
        for place in (str(destdir), str(TOP), str(BUILD)):
            assert place not in text(destdir, name), f"{name} names {place}"
    assert "/usr/local/sbin/carrickd" in text(destdir, "lib/systemd/system/carrickd.service")


def modes_are_right(destdir):
    for path in (destdir / ROOT).rglob("*"):
        programs = ("bin", "sbin", "initramfs")
        if path.is_dir() or path.parent.name in programs or ".so" in path.name or "initramfs-tools" in str(path):
            assert path.stat().st_mode & 0o777 == 0o755, path
        else:
            assert path.stat().st_mode & 0o777 == 0o644, path


def uninstall_takes_exactly_that(destdir):
    vendors = destdir / ROOT / "lib/carrick/plugins/vendor.so"
    vendors.write_bytes(b"")
    make("uninstall", destdir)
    assert files(destdir) == {str(vendors.relative_to(destdir))}
    vendors.unlink()
    make("uninstall", destdir)
    left = sorted(str(path) for path in destdir.rglob("*carrick*"))
    assert not left, f"left: {left}"


def main():
    cases = [all_is_there, nothing_of_tests_is_there, pkg_config_answers, paths_are_filled_in, modes_are_right,
             uninstall_takes_exactly_that]
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o777)  # make works as the owner of the tree
        destdir = pathlib.Path(scratch) / "dest"
        make("install", destdir)
        for case in cases:
            try:
                case(destdir)
                print(f"ok   {case.__name__}")
            except AssertionError as error:
                failed += 1
                print(f"FAIL {case.__name__}: {error}")
    print(f"{len(cases) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
