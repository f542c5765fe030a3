# SPDX-License-Identifier: Apache-2.0
"""What a row of the bench is, and how a figure is made of several rounds."""

import dataclasses
import statistics
import typing


@dataclasses.dataclass
class Row:
    name: str
    what: str
    value: typing.Any = None
    unit: str = ""
    peer: str = ""
    peer_value: typing.Any = None
    ratio: typing.Any = None
    target: str = ""
    met: typing.Any = None  # True, False; None: there is no target, or no figure to judge it by
    spread: str = ""
    command: str = ""
    note: str = ""

    def as_object(self):
        return dataclasses.asdict(self)


@dataclasses.dataclass
class Bench:
    build: str
    cores: tuple
    rounds: int
    keep: bool = False


class Stolen:
    """Which part of the processors' time the host gave to others since this was made: figures of such times say little."""

    def __init__(self):
        self.before = self.ticks()

    @staticmethod
    def ticks():
        with open("/proc/stat", encoding="ascii") as stat:  # proc(5): the first line sums up all processors
            return [int(word) for word in stat.readline().split()[1:9]]

    def percent(self):
        spent = [now - then for now, then in zip(self.ticks(), self.before)]
        return 100 * spent[7] / max(sum(spent), 1)


def median(values):
    return statistics.median(values)


def spread_text(values, digits=0):
    return f"{min(values):,.{digits}f}..{max(values):,.{digits}f}"


def interleaved(rounds, *functions):
    """Calls each function once a round, in turn; gives one list of answers for each function."""
    answers = [[] for _ in functions]
    for _ in range(rounds):
        for function, got in zip(functions, answers):
            got.append(function())
    return answers


def ratio_row(ours, theirs, limit, at_most, **fields):
    """ours against theirs, round by round: medians, their ratio, and the range of the rounds' ratios."""
    value, peer_value = median(ours), median(theirs)
    ratio = value / peer_value
    rounds = [a / b for a, b in zip(ours, theirs)]
    sign = "<=" if at_most else ">="
    return Row(value=value, peer_value=peer_value, ratio=ratio, target=f"{sign} {limit:g}x",
               met=ratio <= limit if at_most else ratio >= limit,
               spread=f"ratio {spread_text(rounds, 2)}", **fields)


def limit_row(values, limit, **fields):
    """A figure with a fixed upper bound: the median is judged, the range is shown."""
    value = median(values)
    return Row(value=value, target=f"< {limit:g} {fields.get('unit', '')}", met=value < limit,
               spread=spread_text(values, 1), **fields)
