# SPDX-License-Identifier: Apache-2.0
"""The conformance suite over both RDMA transports, each with both ends in one guest: plain in alpha, wrapped by the fault
transport in beta, at the same time."""
import re

from machine import NAMES, Skip, check
from suite import case

GUESTS = 2
ORDER = 10
CASES = 70  # less than this many of a kind means that something keeps them from being run
TIMEOUT_S = 400
COUNT = re.compile(r"Tested: (\d+) \| Passing: (\d+) \| Failing: (\d+) \| Crashing: (\d+)")


def judge(guest, kind, code, output):
    """How many passed, and what was left out with the reason."""
    (guest.share / f"conformance-{kind}.log").write_text(output)
    found = COUNT.findall(output)
    check(found, f"{kind}: ended with {code} without a count: {output[-2000:]}")
    tested, passing, _failing, _crashing = map(int, found[-1])
    bad = [line for line in output.splitlines() if line.startswith(("[FAIL]", "[----]")) and "left out" not in line]
    check(code == 0 and passing == tested, f"{kind}: {passing} of {tested} passed:\n" + "\n".join(bad[:60]))
    check(passing >= CASES, f"{kind}: only {passing} tests were run")
    return passing, re.findall(rf"left out over {kind}: (.*)", output)


def conformance(lab, transport, variable, network):
    program = lab.build / "tests/conformance"
    if not (lab.build / f"plugins/{transport}.so").exists():
        raise Skip(f"{transport}.so is not built")
    check(program.exists(), f"{program} is not built")
    jobs = []
    for number, (name, kind) in enumerate(zip(NAMES, (transport, f"{transport} wrapped")), 1):
        guest = lab.guests[name]
        # Each case is a process of its own, but a fork: starting the program anew would take longer than most cases do.
        jobs.append((guest, kind, guest.spawn(
            f"CONFORMANCE_FORKED=1 {variable}={network}.{number} CONFORMANCE_ONLY='={kind}' {program} 2>&1; "
            "echo \"ended with $?\"", TIMEOUT_S)))
    said = []
    for guest, kind, job in jobs:
        output = job.wait(TIMEOUT_S + 30)
        passing, left_out = judge(guest, kind, int(output.split()[-1]), output)
        said.append(f"{kind}: {passing} passed")
        lab.left_out += [(f"bounds::access over {kind}", reason) for reason in left_out]
    return "; ".join(said)


@case
def over_roce(lab):
    return conformance(lab, "verbs", "CONFORMANCE_VERBS", "10.0.1")


@case
def over_iwarp(lab):
    return conformance(lab, "iwarp", "CONFORMANCE_IWARP", "10.0.2")
