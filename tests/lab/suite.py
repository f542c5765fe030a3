# SPDX-License-Identifier: Apache-2.0
"""Suites: files in suites/, each with cases that share one boot of its guests, and the count of what they say.

A suite says at its top: a docstring; GUESTS, 1 or 2; optionally MEMORY (MiB of a guest, default 512), DISKS (sizes in
MiB of the disks of each guest), DOORS (ports of the guests that the host may dial) and DEFAULT = False, when it runs
only by name. A case is a function marked @case that gets the Lab; with @by_name above that it runs only when it is named.
After each case what it left running is ended, cables are plugged and frozen guests thawed; after one that failed its
guests are started anew. What a case that passes leaves out of itself it appends to lab.left_out, as a name and a reason:
it counts as skipped.
"""
import importlib.util
import pathlib
import sys
import time
import traceback

import kit
from machine import CommandError, Failure, Lab, Skip

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
        result.append((name, load(name), part))
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


def run_case(lab, count, suite_name, function):
    """Whether the guests may be used on."""
    name, start = f"{suite_name}/{function.__name__}", time.monotonic()
    lab.left_out = []
    try:
        said = function(lab)
        count.passed += 1
        for part, reason in lab.left_out:
            count.skip(f"{name}, {part}", reason)
        print(f"ok   {name} ({time.monotonic() - start:.1f} s)" + (f": {said}" if said else ""), flush=True)
        return True
    except Skip as reason:
        count.skip(name, reason)
        return True
    except Exception as error:  # pylint: disable=broad-except
        count.failed += 1
        print(f"FAIL {name} ({time.monotonic() - start:.1f} s): {error}", flush=True)
        if not isinstance(error, (Failure, CommandError)):
            traceback.print_exc(file=sys.stdout)
        place = count.logs / suite_name / function.__name__
        lab.keep_logs(place)
        print(f"     consoles and logs of the guests: {place}", flush=True)
        return False


def run_suite(name, module, part, build, count, keep=None):
    todo = [one for one in cases(module) if part in one.__name__ and (part or not getattr(one, "by_name", False))]
    try:
        with Lab(build, getattr(module, "MEMORY", 512), doors=getattr(module, "DOORS", ())) as lab:
            start = time.monotonic()
            lab.start(module.GUESTS, lab.make_disks(module.GUESTS, getattr(module, "DISKS", [])))
            print(f"==== {name}: {module.GUESTS} guest(s) up in {time.monotonic() - start:.1f} s", flush=True)
            for i, function in enumerate(todo):
                good = run_case(lab, count, name, function)
                if keep and (not good or i + 1 == len(todo)):
                    keep(lab)
                if i + 1 < len(todo):
                    lab.settle(good)
    except kit.Missing as reason:
        for function in todo:
            count.skip(f"{name}/{function.__name__}", reason)
    except (Failure, kit.Broken) as error:
        count.failed += 1
        print(f"FAIL {name}: {error}", flush=True)


def run(wanted, build, keep=None):
    build = pathlib.Path(build).resolve()
    count = Count(build / "lab-logs")
    start = time.monotonic()
    for name, module, part in chosen(wanted):
        began = time.monotonic()
        run_suite(name, module, part, build, count, keep)
        print(f"     {name}: {time.monotonic() - began:.0f} s", flush=True)
    print(f"the lab took {time.monotonic() - start:.0f} s")
    print(count.last_line(), flush=True)
    return 1 if count.failed else 0

