#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plugins built from the headers of version 1.0 load and work in the present daemon, and nothing public has moved.
See tests/abi/README.md."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from lib import BUILD, TOP, CommandError, Skip, check, loopback_link, main, manager, run, test, wait_for  # noqa: E402

HERE = TOP / "tests/abi"
FROZEN = HERE / "include-1.0"
OLD = ("old_client", "old_policy", "old_transport", "old_arbiter")
# A table that was filled by position has no initializer for what was appended later: it is NULL, as it should be.
STRICT = ("-Wall", "-Wextra", "-Wno-missing-field-initializers", "-Wpedantic", "-Werror")


def compilers():
    return [name for name in ("gcc", "clang") if shutil.which(name)] or [os.environ.get("CC", "cc")]


def build_old(world, *flags, include=FROZEN):
    """Builds the old plugins as a vendor did it then; returns their directory."""
    directory = world.dir / "old"
    directory.mkdir(exist_ok=True)
    sanitize = os.environ.get("SANITIZE", "")
    if sanitize:
        flags = (*flags, f"-fsanitize={sanitize}")
    for name in OLD:
        run(os.environ.get("CC", "cc"), "-std=c11", "-g", "-O1", "-fPIC", "-fvisibility=hidden", "-shared", *flags,
            f"-I{include}", HERE / f"{name}.c", "-o", directory / f"{name}.so")
    return directory


def compiles(source, include, *flags):
    for compiler in compilers():
        try:
            run(compiler, *flags, "-fsyntax-only", f"-I{include}", source)
        except CommandError as error:
            return error.output
    return None


def changed_headers(world, name, pattern, replacement):
    """A copy of the present headers with one change; returns its directory."""
    directory = world.dir / "changed"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(TOP / "include", directory)
    header = directory / "carrick" / name
    text, count = re.subn(pattern, replacement, header.read_text(), count=1)
    check(count == 1, f"'{pattern}' is not in {name}")
    header.write_text(text)
    return directory


# ---- nothing has moved


@test
def everything_public_lies_where_it_lay(world):
    for include in (FROZEN, TOP / "include"):
        complaint = compiles(HERE / "sizes.c", include, "-std=gnu11", *STRICT[:3], "-Werror")
        check(complaint is None, f"{include}:\n{complaint}")


@test
def what_is_not_allowed_would_be_noticed(world):
    changes = [
        ("client.h", r"(struct carrick_op \{\n    uint32_t struct_size;\n)", r"\1    uint32_t inserted;\n"),
        ("client.h", r"CARRICK_CLIENT_READ = 2", "CARRICK_CLIENT_READ = 5"),
        ("transport.h", r"(    uint32_t key;\n    uint32_t reserved;\n)\};", r"\1    uint64_t appended;\n};"),
        ("transport.h", r"void \(\*device_close\)\(struct carrick_device \*device\);\n", ""),
        ("plugin.h", r"uint16_t abi_major; ", "uint32_t abi_major; "),
        ("types.h", r"char text\[256\]", "char text[512]"),
    ]
    for name, pattern, replacement in changes:
        include = changed_headers(world, name, pattern, replacement)
        check(compiles(HERE / "sizes.c", include, "-std=gnu11") is not None, f"{pattern} -> {replacement}")


@test
def what_is_allowed_is_let_through(world):
    changes = [
        ("client.h", r"(    void \(\*stopping\)\([^;]*;\n)\};", r"\1    void (*appended)(void);\n};"),
        ("types.h", r"#define CARRICK_ABI_MINOR \d+", "#define CARRICK_ABI_MINOR 77"),
        ("client.h", r"(    uint32_t links_failed_here;\n)\};", r"\1    uint64_t appended;\n};"),
    ]
    for name, pattern, replacement in changes:
        include = changed_headers(world, name, pattern, replacement)
        complaint = compiles(HERE / "sizes.c", include, "-std=gnu11")
        check(complaint is None, f"{pattern} -> {replacement}:\n{complaint}")


@test
def old_sources_compile_with_the_present_headers(world):
    for name in OLD:
        complaint = compiles(HERE / f"{name}.c", TOP / "include", "-std=c11", *STRICT)
        check(complaint is None, complaint)


@test
def abidiff_finds_nothing_incompatible(world):
    if not shutil.which("abidiff"):
        raise Skip("needs the command abidiff")
    # One function that takes each table and structure, so that all of them are in the library's debug information.
    names = sorted(set(re.findall(r"^struct (carrick_\w+) \{", "".join(
        header.read_text() for header in sorted((FROZEN / "carrick").glob("*.h"))), re.M)))
    # Wrappers must match exactly: nothing of their table is promised.
    names.remove("carrick_transport_wrapper_ops")
    source = world.dir / "all.c"
    source.write_text("".join(f"#include <carrick/{h.name}>\n" for h in sorted((FROZEN / "carrick").glob("*.h")))
                      + "".join(f"void take_{n}(struct {n} *one);\nvoid take_{n}(struct {n} *one)\n{{\n    (void)one;\n}}\n"
                                for n in names))

    def library(include, name):
        path = world.dir / name
        run("cc", "-g", "-shared", "-fPIC", f"-I{include}", source, "-o", path)
        return path

    frozen = library(FROZEN, "frozen.so")

    def incompatible(include):
        done = subprocess.run(["abidiff", frozen, library(include, "present.so")], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        check(done.returncode & 3 == 0, f"abidiff: {done.stdout}")
        return done.returncode & 4 and done.stdout

    # Whatever changes at all is shown; sizes.c decides what is allowed. Here the headers are to be as frozen, or the
    # version is to tell that they have grown.
    minor = re.search(r"#define CARRICK_ABI_MINOR (\d+)", (TOP / "include/carrick/types.h").read_text())[1]
    difference = incompatible(TOP / "include")
    check(not difference or int(minor) > 0, f"the headers differ from 1.0, but say that they are 1.0:\n{difference}")
    changed = changed_headers(world, "transport.h", r"bool orderly\)", "int64_t orderly)")
    check(incompatible(changed), "abidiff does not notice another parameter")


# ---- plugins of then


@test
def old_plugins_are_taken(world):
    directory = build_old(world)
    for name in OLD:
        report = json.loads(run(BUILD / "bin/carrick", "plugin", "inspect", directory / f"{name}.so", "--json"))
        check(report["taken"] is True and report["name"] == name, f"{report}")
        check(report["abi"] == "1.0", f"{report}")


def old_pair(world):
    directory = str(build_old(world))
    links = [loopback_link("left"), loopback_link("right"),
             {"name": "gone", "transport": "old_transport", "nodes": {"alpha": {}, "beta": {}}}]
    clients = [{"name": "old", "plugin": "old_client"}]
    # The session is to live on: what is counted is of one session each.
    config = world.config([manager(links=links, clients=clients, policy={"plugin": "old_policy"},
                                   timers={"session_lost_ms": 20000})])
    config["plugin_dirs"].append(directory)
    alpha, beta = world.node("alpha", config), world.node("beta", config)
    for node in (alpha, beta):
        node.start()
    for node in (alpha, beta):
        node.wait_up()
    return alpha, beta


def stats(node):
    return json.loads(node.cli("client", "old", "stats", "--json"))


def wait_rounds(node, more=20):
    before = stats(node)
    after = wait_for(lambda: (now := stats(node))["rounds"] >= before["rounds"] + more
                     and now["received"] >= before["received"] + more and now, f"rounds of {node.name}'s client")
    check(after["wrong"] == 0, f"{node.name}: {after}")
    return after


@test
def old_client_and_policy_work_in_the_daemon(world):
    alpha, beta = old_pair(world)
    for node in (alpha, beta):
        wait_rounds(node)
        wait_for(lambda node=node: stats(node)["worked"] == 1, "work on a worker")
        node.wait_log("built for ABI 1.0, runs in 1.")
        wait_for(lambda node=node: node.manager_status()["vis"][0]["link"] == "right",
                 "the policy's choice: the last eligible link")
    session = alpha.session()["id"]
    alpha.cli("session", "reset")
    for node in (alpha, beta):
        wait_for(lambda node=node: node.up() and node.session()["id"] != session, "the next session")
        check(wait_rounds(node)["sessions"] == 2, f"{stats(node)}")
    alpha.cli("link", "down", "right")
    wait_for(lambda: alpha.manager_status()["vis"][0]["link"] == "left", "the VI to be carried over")
    wait_rounds(alpha)
    wait_rounds(beta)
    for node in (alpha, beta):
        check(node.stop() == 0, f"{node.name}'s exit status")


@test
def old_transport_is_asked_for_its_device(world):
    alpha, _ = old_pair(world)
    link = wait_for(lambda: (one := alpha.link("gone")) and "hardware" in one["cause"] and one, "the cause to be shown")
    check(link["transport"] == "old_transport" and link["state"] != "up", f"{link}")
    wait_rounds(alpha)


@test
def old_plugins_refuse_their_sections_at_the_right_place(world):
    directory = str(build_old(world))
    links = [loopback_link("left"),
             {"name": "gone", "transport": "old_transport", "nodes": {"alpha": {}, "beta": {"refuse": 1}}}]
    config = world.config([manager(links=links, clients=[{"name": "old", "plugin": "old_client",
                                                          "config": {"refuse": 1}}])])
    config["plugin_dirs"].append(directory)
    path = world.dir / "c.json"
    path.write_text(json.dumps(config, indent=2))
    try:
        run(BUILD / "bin/carrickd", "--config", path, "--node", "beta", "--check")
        check(False, "it is good")
    except CommandError as error:
        lines = path.read_text().splitlines()
        places = [number + 1 for number, line in enumerate(lines) if '"refuse"' in line]
        for place, pointer in zip(places, ("/managers/0/links/1/nodes/beta/refuse", "/managers/0/clients/0/config/refuse")):
            check(f"{path}:{place}:" in error.output and pointer in error.output, error.output)


if __name__ == "__main__":
    main()
