"""Contestants' rounds, and what they come to. Pure."""

from collections.abc import Mapping, Sequence
from statistics import median

import msgspec

OURS = "dataforge"


class Measured(msgspec.Struct, frozen=True):
    """One round of one contestant, its start taken away."""

    cpu_s: float
    """Of all its threads and child processes."""
    wall_s: float
    peak_mib: float
    answer: str = ""


class Ratio(msgspec.Struct, frozen=True):
    """Ours divided by another's, in events per CPU second: above 1 we are faster. Paired within each round."""

    median: float
    least: float
    most: float


class Standing(msgspec.Struct, frozen=True):
    """What a contestant's rounds come to: medians."""

    events_per_cpu_s: float
    events_per_s: float
    peak_mib: float


class SuiteReport(msgspec.Struct, frozen=True):
    suite: str
    ratios: dict[str, Ratio]
    """Contestant -> ours by theirs."""
    standings: dict[str, Standing]
    rounds: dict[str, list[Measured]]
    events: int
    """Of one round."""
    expected: str
    """The answer, worked out by none of them."""
    problems: list[str]


def report(suite: str, events: int, expected: str, rounds: Mapping[str, Sequence[Measured]]) -> SuiteReport:
    """*Raises* `KeyError` where we did not take part."""
    ours = rounds[OURS]
    others = {name: theirs for name, theirs in rounds.items() if name != OURS}
    return SuiteReport(
        suite,
        {name: ratio(ours, theirs) for name, theirs in others.items()},
        {name: _standing(measured, events) for name, measured in rounds.items()},
        {name: list(measured) for name, measured in rounds.items()},
        events,
        expected,
        [
            f"{name} answers {measured.answer!r} in round {number}, not {expected!r}"
            for name, taken in rounds.items()
            for number, measured in enumerate(taken, 1)
            if measured.answer != expected
        ],
    )


def ratio(ours: Sequence[Measured], theirs: Sequence[Measured]) -> Ratio:
    """The same events on both sides, so their CPU time by ours."""
    by_round = [their.cpu_s / our.cpu_s for our, their in zip(ours, theirs, strict=True)]
    return Ratio(*(round(value, 3) for value in (median(by_round), min(by_round), max(by_round))))


def _standing(measured: Sequence[Measured], events: int) -> Standing:
    return Standing(
        round(events / median(one.cpu_s for one in measured)),
        round(events / median(one.wall_s for one in measured)),
        round(max(one.peak_mib for one in measured), 1),
    )
