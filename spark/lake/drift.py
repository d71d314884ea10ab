"""A day against the days before it: how many events there are, and how their values are spread. Pure."""

from collections.abc import Mapping
from math import log
from statistics import median
from typing import NamedTuple

from dataforge.contracts.expectations import HISTORY_DAYS

BINS = 10
LEAST_ROWS = 1_000
"""With fewer on either side, the index shows chance: with ten bins, about 9 / rows of the smaller side."""
_LEAST_SHARE = 1e-4
"""An empty bin has no logarithm."""

Counts = dict[str, int]
"""Bin -> values in it."""


class History(NamedTuple):
    """Days are counted from the epoch."""

    first: int
    day: int
    """The last whole one. The days before it, from `first` on, are what it is compared with."""
    rows: int
    """Events of that day."""
    before: int
    """Events of all the days before it."""
    ratio: float
    """Events of that day to those of the median day before it."""


def history(by_day: Mapping[int, int], today: int, days: int) -> History | None:
    """None where there is too little of it. `by_day`: day -> events; a day without any may be missing."""
    first = max(today - days + 1, min(by_day, default=today))
    before = [by_day.get(day, 0) for day in range(first, today - 1)]
    if len(before) < HISTORY_DAYS or median(before) == 0:
        return None
    rows = by_day.get(today - 1, 0)
    return History(first, today - 1, rows, sum(before), rows / median(before))


def shift(before: Mapping[str, int], after: Mapping[str, int]) -> float:
    """The population stability index: 0 where both are spread alike; 0.1 is a change, 0.25 another population.

    *Source*: Siddiqi, Credit Risk Scorecards (2006): the sum of (a - b) ln(a / b) over shares a, b of the bins.
    """
    pairs = [(_share(before, name), _share(after, name)) for name in {*before, *after}]
    return sum((b - a) * log(b / a) for a, b in pairs)


def _share(counts: Mapping[str, int], name: str) -> float:
    return max(counts.get(name, 0) / sum(counts.values()), _LEAST_SHARE)
