# SPDX-License-Identifier: Apache-2.0
"""Suites: files in suites/, each with cases, and the count of what they say. All suites share one boot of their guests.

A suite says at its top: a docstring; GUESTS, 1 or 2; optionally MEMORY (MiB of a guest, default 512), DISKS (sizes in
MiB of the disks of each guest), DOORS (ports of the guests that the host may dial), DEFAULT = False, when it runs
only by name, and find_kit, a function, when its guests boot from another kit than all others. A case is a function marked
@case that gets the Lab; with @by_name above that it runs only when it is named.
The machines have the disks and doors of all suites of the run that share them.
After each case what it left running is ended, cables are plugged and frozen guests thawed; after one that failed its
guests are started anew. What a case that passes leaves out of itself it appends to lab.left_out, as a name and a reason:
it counts as skipped.
"""
import importlib.util
import itertools
import pathlib
import re
import sys
import time
import traceback

import kit
from machine import CommandError, Failure, Lab, Skip, leftovers

HERE = pathlib.Path(__file__).resolve().parent


def case(function):
    function.is_case = True
    return function


def by_name(function):
    """Above @case: runs only when its name, or a part of it, is given."""
    function.by_name = True
    return function


def names():
    return [path.stem for path in sorted((HERE / "suites").glob("*.py"))]


def load(name):
    path = HERE / "suites" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"suite_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cases(module):
    return [one for one in vars(module).values() if getattr(one, "is_case", False)]


def chosen(wanted):
    """[(name, module, words that the cases' names must contain)]. A word is SUITE or SUITE/PART-OF-A-CASE."""
    result = []
    for word in wanted or []:
        name, _, part = word.partition("/")
        if name not in names():
            raise kit.Missing(f"no suite {name}; there are: {' '.join(names())}")
        module = load(name)
        if not any(part in one.__name__ for one in cases(module)):
            there = " ".join(one.__name__ for one in cases(module))
            raise kit.Missing(f"no case of {name} has {part} in its name; there are: {there}")
        result.append((name, module, part))
    if not wanted:
        result = [(name, module, "") for name in names() for module in [load(name)] if getattr(module, "DEFAULT", True)]
    return sorted(result, key=lambda one: getattr(one[1], "ORDER", 50))


class Count:
    def __init__(self, logs):
        self.passed = self.failed = self.skipped = 0
        self.logs = logs

    def skip(self, name, reason):
        self.skipped += 1
        print(f"SKIP {name}: {' '.join(str(reason).split())}", flush=True)

    def last_line(self):
        return f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else "")


# What a kernel says of a program or of itself that broke.
BROKEN = re.compile(r"segfault at|general protection|kernel BUG|Oops|WARNING:|corruption|blocked for more than")


def keep_logs(lab, count, suite_name, function):
    """Where only what is printed is kept, the kernels' words of what broke are there as well."""
    place = count.logs / suite_name / function.__name__
    lab.keep_logs(place)
    for path in sorted(place.glob("*.dmesg.log")):
        for line in [line for line in path.read_text(errors="replace").splitlines() if BROKEN.search(line)][-5:]:
            print(f"     {path.name.split('.')[0]}: {line}", flush=True)
    print(f"     consoles and logs of the guests: {place}", flush=True)


def run_case(lab, count, suite_name, function):
    """Whether the guests may be used on."""
    name, start, spent = f"{suite_name}/{function.__name__}", time.monotonic(), lab.processor_s()
    lab.left_out = []

    def took():
        return (f"{time.monotonic() - start:.1f} s, processor " +
                " and ".join(f"{after - before:.1f}" for before, after in zip(spent, lab.processor_s())))

    try:
        said = function(lab)
        count.passed += 1
        for part, reason in lab.left_out:
            count.skip(f"{name}, {part}", reason)
        print(f"ok   {name} ({took()})" + (f": {said}" if said else ""), flush=True)
        return True
    except Skip as reason:
        count.skip(name, reason)
        return True
    except Exception as error:  # pylint: disable=broad-except
        count.failed += 1
        print(f"FAIL {name} ({took()}): {error}", flush=True)
        if not isinstance(error, (Failure, CommandError)):
            traceback.print_exc(file=sys.stdout)
        keep_logs(lab, count, suite_name, function)
        return False


class Suite:
    """What of a suite is to be run, and the machines that it wants."""

    def __init__(self, name, module, part):
        self.name = name
        self.todo = [one for one in cases(module) if part in one.__name__ and (part or not getattr(one, "by_name", False))]
        self.guests, self.memory = module.GUESTS, getattr(module, "MEMORY", 512)
        self.disks, self.doors = getattr(module, "DISKS", []), getattr(module, "DOORS", ())
        self.find_kit = getattr(module, "find_kit", kit.find_kit)


def run_cases(lab, left, count, keep):
    """Takes each (suite, case) off the list when the guests are ready for it."""
    good = began = None
    while left:
        suite, function = left[0]
        if function is suite.todo[0]:
            began = time.monotonic()
        if good is not None:
            lab.settle(good)
        left.pop(0)
        good = run_case(lab, count, suite.name, function)
        is_last = function is suite.todo[-1]
        if keep and (not good or is_last):
            keep(lab)
        if is_last:
            print(f"     {suite.name}: {time.monotonic() - began:.0f} s", flush=True)


def run_group(group, build, count, keep=None):
    """Suites one after the other in the same machines, which have all that any of them wants."""
    left = [(suite, function) for suite in group for function in suite.todo]
    doors = sorted({port for suite in group for port in suite.doors})
    disks = [max(sizes) for sizes in itertools.zip_longest(*(suite.disks for suite in group), fillvalue=0)]
    guests = max(suite.guests for suite in group)
    try:
        with Lab(build, group[0].memory, doors=doors, find_kit=group[0].find_kit) as lab:
            try:
                start = time.monotonic()
                lab.start(guests, lab.make_disks(guests, disks))
                print(f"==== {guests} guest(s) up in {time.monotonic() - start:.1f} s", flush=True)
                run_cases(lab, left, count, keep)
            except Failure:
                keep_logs(lab, count, left[0][0].name, left[0][1])
                raise
    except kit.Missing as reason:
        for suite, function in left:
            count.skip(f"{suite.name}/{function.__name__}", reason)
    except (Failure, kit.Broken) as error:
        count.failed += max(len(left), 1)
        names_left = " ".join(f"{suite.name}/{function.__name__}" for suite, function in left)
        print(f"FAIL {names_left}: {error}", flush=True)


def run(wanted, build, keep=None):
    build = pathlib.Path(build).resolve()
    count = Count(build / "lab-logs")
    start = time.monotonic()
    suites = [suite for suite in (Suite(*one) for one in chosen(wanted)) if suite.todo]
    for _, group in itertools.groupby(suites, key=lambda suite: (suite.memory, suite.find_kit)):
        run_group(list(group), build, count, keep)
    left = leftovers()
    if left:
        count.failed += 1
        print(f"FAIL the lab has ended, and these are left of it: {' '.join(map(str, left))}", flush=True)
    print(f"the lab took {time.monotonic() - start:.0f} s")
    print(count.last_line(), flush=True)
    return 1 if count.failed else 0
