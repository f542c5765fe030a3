#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An installation, a vendor's plugin built on it outside the tree, two installed daemons that run it, and no remains."""
import json
import os
import pathlib
import shutil

from lib import BUILD, TOP, check, loopback_link, main, manager, run, test, wait_for

# Settings that the tests' own make was called with; an installation of its own needs none of them.
MAKE_VARIABLES = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "DESTDIR", "PREFIX")


def make(world, *words):
    env = {k: v for k, v in os.environ.items() if k not in MAKE_VARIABLES}
    return run("make", "--no-print-directory", *words, env=env, timeout_s=240)


def install(world, target, *words):
    """Stages the build into a directory. The same prefix as that of the build, so nothing is built again."""
    sanitize = os.environ.get("SANITIZE", "")
    more = [f"SANITIZE={sanitize}", "CFLAGS=-O1 -g"] if sanitize else []
    return make(world, "-C", str(TOP), f"BUILD={BUILD}", f"DESTDIR={world.dir}/stage", *more, target, *words)


def files_below(directory):
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if not p.is_dir() or p.is_symlink())


def staged(world):
    """Installs, and makes the .pc file tell of the staged place, as it would tell of the real one."""
    install(world, "install")
    stage = world.dir / "stage"
    pc = next(stage.rglob("carrick.pc"))
    prefix = next(line.split("=", 1)[1] for line in pc.read_text().splitlines() if line.startswith("prefix="))
    pc.write_text(pc.read_text().replace(prefix, f"{stage}{prefix}"))
    return stage, pathlib.Path(f"{stage}{prefix}"), pc


def build_echo(world, pc):
    copy = world.dir / "vendor"
    shutil.copytree(TOP / "examples/echo", copy, ignore=shutil.ignore_patterns("*.so", "*.o"))
    path = f"{pc.parent}:{os.environ.get('PKG_CONFIG_PATH', '')}"
    sanitize = os.environ.get("SANITIZE", "")
    flags = [f"CPPFLAGS=-fsanitize={sanitize}"] if sanitize else []
    env = {k: v for k, v in os.environ.items() if k not in MAKE_VARIABLES}
    out = run("make", "-C", copy, *flags, env={**env, "PKG_CONFIG_PATH": path})
    check(str(TOP) not in out.replace(str(world.dir), ""), f"the source tree was used:\n{out}")
    return copy


@test
def echo_is_built_outside_the_tree_and_runs_in_installed_daemons(world):
    stage, prefix, pc = staged(world)
    copy = build_echo(world, pc)
    symbols = run("nm", "-D", "--defined-only", copy / "echo.so").split()
    check(symbols[-1:] == ["carrick_plugin_entry"] and len(symbols) == 3, f"it exports {symbols}")
    carrick = prefix / "bin/carrick"
    check("takes it" in run(carrick, "plugin", "inspect", copy / "echo.so"), "inspect")
    plugins = next(p.parent for p in prefix.rglob("tcp.so"))
    shutil.copy(copy / "echo.so", plugins)

    client = {"name": "echo", "plugin": "echo", "config": {"interval_ms": 1, "bytes": 16384, "depth": 4}}
    config = world.config([manager(links=[loopback_link("left")], clients=[client])], plugin_dirs=[str(plugins)])
    nodes = [world.node(name, config) for name in ("alpha", "beta")]
    for node in nodes:
        node.binary, node.tool = prefix / "sbin/carrickd", carrick
        node.start()
    for node in nodes:
        node.wait_up()
        wait_for(lambda node=node: node.echo()["answered"] > 100, f"{node.name}'s pings to be answered")
        stats = node.echo()
        check(stats["mismatches"] == stats["lost"] == stats["refused"] == 0, f"{stats}")
    loaded = {p["name"]: p for p in json.loads(nodes[0].cli("plugins", "--json"))}
    check(loaded["echo"]["path"] == str(plugins / "echo.so"), f"{loaded['echo']}")


@test
def uninstall_leaves_nothing(world):
    install(world, "install")
    stage = world.dir / "stage"
    installed = files_below(stage)
    for part in ("bin/carrick", "sbin/carrickd", "plugins/tcp.so", "plugins/round_robin.so", "plugins/least_inflight.so",
                 "carrick/client.h", "pkgconfig/carrick.pc", "man1/carrick.1", "man8/carrickd.8", "man5/carrick.json.5",
                 "completions/carrick", "config.schema.json", "carrickd.service", "examples/echo/echo.c"):
        check(any(name.endswith(part) for name in installed), f"{part} is not installed: {installed}")
    check(not any("sim.so" in name or "test" in name.lower() for name in installed), f"test parts: {installed}")
    install(world, "uninstall")
    check(files_below(stage) == [], f"left behind: {files_below(stage)}")
    check(not list(stage.rglob("carrick*")), f"directories left behind: {list(stage.rglob('carrick*'))}")


@test
def installed_headers_compile_alone(world):
    _, prefix, _ = staged(world)
    for header in sorted((prefix / "include/carrick").glob("*.h")):
        source = world.dir / "alone.c"
        source.write_text(f"#include <carrick/{header.name}>\nint main(void) {{ return 0; }}\n")
        run("cc", "-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{prefix}/include", source, "-o",
            world.dir / "alone")


if __name__ == "__main__":
    main()
