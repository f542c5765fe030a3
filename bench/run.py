#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The bench: measures Carrick beside its peers in the same run and says whether the targets are met.

    BUILD=build bench/run.py [--list] [--only NAME[,NAME]] [--rounds N] [--cores A,B]

Prints one table and writes BUILD/bench/results.json, a list of objects. Ends with 0 when every row that
was run gave a figure, met or not; with 1 when one could not be measured; with 2 when called wrongly.
"""

import argparse
import json
import os
import sys
import time
import traceback

sys.dont_write_bytecode = True

import rows
from measure import Bench, Stolen
from peers import Failed, Missing

BUDGET_S = 15 * 60


def number(value):
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def verdict(row):
    return {True: "met", False: "NOT MET", None: "-"}[row.met]


def table_print(results):
    head = ("what", "ours", "peer", "ratio", "target", "met", "spread")
    lines = [head]
    for r in results:
        ours = f"{number(r.value)} {r.unit}" if r.value is not None else "not measured"
        if r.peer_value is not None:
            peer = f"{number(r.peer_value)} ({r.peer})"
        else:
            peer = f"{r.peer}: missing" if r.peer else "-"
        lines.append((r.what, ours, peer, number(r.ratio), r.target or "-", verdict(r),
                      r.spread or "-"))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for n, line in enumerate(lines):
        print("  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip())
        if n == 0:
            print("  ".join("-" * w for w in widths))
    for r in results:
        if r.note:
            print(f"{r.name}: {r.note}")


def results_write(path, results):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    partial = path + ".partial"
    with open(partial, "w", encoding="utf-8") as f:
        json.dump([r.as_object() for r in results], f, indent=2)
        f.write("\n")
    os.replace(partial, path)


def cores_choose(text):
    allowed = sorted(os.sched_getaffinity(0))
    if text:
        cores = [int(c) for c in text.split(",")]
        if len(cores) != 2 or not set(cores) <= set(allowed):
            raise SystemExit(f"run.py: --cores wants two of {allowed}")
        return tuple(cores)
    return (allowed[0], allowed[1] if len(allowed) > 1 else allowed[0])


def row_run(bench, name, function):
    """A row that fails gives its cause in the table and lets the others run."""
    began, stolen = time.monotonic(), Stolen()
    try:
        results = list(function(bench))
        failed = False
    except (Missing, Failed) as why:
        results, failed = [rows.unmeasured(name, str(why))], True
    except Exception as why:  # pylint: disable=broad-except
        traceback.print_exc()
        results, failed = [rows.unmeasured(name, f"{type(why).__name__}: {why}")], True
    print(f"# {name}: {time.monotonic() - began:.1f} s, {stolen.percent():.0f} % of the processors taken by the host",
          file=sys.stderr, flush=True)
    return results, failed


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="names the rows and ends")
    parser.add_argument("--only", metavar="NAME", help="runs these rows only, by comma")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    parser.add_argument("--cores", metavar="A,B", help="the cores of the two sides")
    parser.add_argument("--keep", action="store_true", help="leaves logs and configuration behind")
    return parser.parse_args()


def main():
    options = arguments()
    if options.list:
        for name, function in rows.ROWS.items():
            print(f"{name:18} {(function.__doc__ or '').splitlines()[0]}")
        return 0
    wanted = options.only.split(",") if options.only else list(rows.ROWS)
    unknown = [n for n in wanted if n not in rows.ROWS]
    if unknown or options.rounds < 1:
        print(f"run.py: no row {', '.join(unknown)}; --list names them", file=sys.stderr)
        return 2
    build = os.path.abspath(os.environ.get("BUILD", "build"))
    bench = Bench(build, cores_choose(options.cores), options.rounds, options.keep)
    load = os.getloadavg()[0]
    print(f"load average at the start: {load:.2f}" + (
        "; other programs run, which spoils times, and less so ratios" if load > 0.5 else ""))
    print(f"placement: first node, initiator or client on core {bench.cores[0]}; second node or "
          f"server on core {bench.cores[1]}; both sides of every row alike")
    results, failures, began, stolen = [], 0, time.monotonic(), Stolen()
    for name in wanted:
        if time.monotonic() - began > BUDGET_S:
            results.append(rows.unmeasured(name, "the 15 minutes were over"))
            failures += 1
            continue
        rows_of, failed = row_run(bench, name, rows.ROWS[name])
        results += rows_of
        failures += failed
    table_print(results)
    print(f"the host gave {stolen.percent():.0f} % of the processors' time to others")
    path = os.path.join(build, "bench", "results.json")
    results_write(path, results)
    measured = [r for r in results if r.met is not None]
    print(f"{sum(r.met for r in measured)} of {len(measured)} targets met; written to {path}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
