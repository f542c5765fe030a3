#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An installation, a vendor's plugin built on it outside the tree, two installed daemons that run it, and no remains."""
import json
import shutil

from lib import TOP, build_vendor_echo, check, install_staged, loopback_link, main, make_staged, manager, run, test, wait_for


def files_below(directory):
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if not p.is_dir() or p.is_symlink())


@test
def echo_is_built_outside_the_tree_and_runs_in_installed_daemons(world):
    prefix, pc_dir = install_staged(world.dir / "stage")
    copy = world.dir / "vendor"
    out = build_vendor_echo(copy, pc_dir)
    check(str(TOP) not in out, f"the source tree was used:\n{out}")
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
    stage = world.dir / "stage"
    make_staged(stage, "install")
    installed = files_below(stage)
    for part in ("bin/carrick", "sbin/carrickd", "plugins/tcp.so", "plugins/round_robin.so", "plugins/least_inflight.so",
                 "carrick/client.h", "pkgconfig/carrick.pc", "man1/carrick.1", "man8/carrickd.8", "man5/carrick.json.5",
                 "completions/carrick", "config.schema.json", "carrickd.service", "examples/echo/echo.c"):
        check(any(name.endswith(part) for name in installed), f"{part} is not installed: {installed}")
    check(not any("sim.so" in name or "test" in name.lower() for name in installed), f"test parts: {installed}")
    make_staged(stage, "uninstall")
    check(files_below(stage) == [], f"left behind: {files_below(stage)}")
    check(not list(stage.rglob("carrick*")), f"directories left behind: {list(stage.rglob('carrick*'))}")


@test
def installed_headers_compile_alone(world):
    prefix, _ = install_staged(world.dir / "stage")
    for header in sorted((prefix / "include/carrick").glob("*.h")):
        source = world.dir / "alone.c"
        source.write_text(f"#include <carrick/{header.name}>\nint main(void) {{ return 0; }}\n")
        run("cc", "-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{prefix}/include", source, "-o",
            world.dir / "alone")


if __name__ == "__main__":
    main()
