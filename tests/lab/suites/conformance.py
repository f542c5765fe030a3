# SPDX-License-Identifier: Apache-2.0
"""The conformance suite over both RDMA transports, plain and wrapped by the fault transport, in one guest."""
import re

from machine import Skip, check
from suite import case

GUESTS = 1
ORDER = 10
COUNT = re.compile(r"Tested: (\d+) \| Passing: (\d+) \| Failing: (\d+) \| Crashing: (\d+)")


def conformance(lab, kind, variable, address):
    program = lab.build / "tests/conformance"
    if not (lab.build / f"plugins/{kind}.so").exists():
        raise Skip(f"{kind}.so is not built")
    check(program.exists(), f"{program} is not built")
    guest = lab.guests["alpha"]
    code, output = guest.run_code(
        f"{variable}={address} CONFORMANCE_ONLY={kind} {program} --color=never --verbose --jobs 1 2>&1", 400)
    (guest.share / f"conformance-{kind}.log").write_text(output)
    found = COUNT.findall(output)
    check(found, f"ended with {code} without a count: {output[-2000:]}")
    tested, passing, _failing, _crashing = map(int, found[-1])
    bad = [line for line in output.splitlines() if line.startswith(("[FAIL]", "[----]"))]
    check(code == 0 and passing == tested, f"{passing} of {tested} passed:\n" + "\n".join(bad[:60]))
    cases = len(re.findall(rf"^\[PASS\].*\b{kind}\b", output, re.MULTILINE)) or passing
    check(cases >= 20, f"only {cases} tests were run")
    return f"{passing} tests"


@case
def over_roce(lab):
    return conformance(lab, "verbs", "CONFORMANCE_VERBS", "10.0.1.1")


@case
def over_iwarp(lab):
    return conformance(lab, "iwarp", "CONFORMANCE_IWARP", "10.0.2.1")
