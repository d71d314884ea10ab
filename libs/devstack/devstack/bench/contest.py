"""Contestants' rounds, and what they come to. Pure."""

from collections.abc import Mapping, Sequence
from statistics import median

import msgspec

OURS = "dataforge"


class Measured(msgspec.Struct, frozen=True):
    """One round of one contestant, its start taken away."""

    events: int
    cpu_s: float
    """Of all its threads and child processes."""
    wall_s: float
    peak_mib: float
    answer: str = ""
    expected: str = ""
    """The answer, worked out by no contestant."""

    @property
    def cost_us(self) -> float:
        """CPU time of one event."""
        return self.cpu_s / self.events * 1e6


class Standing(msgspec.Struct, frozen=True):
    """What a contestant's rounds come to: medians."""

    events_per_cpu_s: float
    events_per_s: float
    peak_mib: float


class SuiteReport(msgspec.Struct, frozen=True):
    suite: str
    ratios: dict[str, float]
    """Contestant -> ours by theirs in events per CPU second, the median over rounds: above 1 we are faster. In the e2e
    suite of latencies: below 1 we are.
    """
    spread: dict[str, tuple[float, float]]
    """Contestant -> the least and the most of these."""
    standings: dict[str, Standing]
    rounds: dict[str, list[Measured]]
    problems: list[str]
    figures: dict[str, float] = {}
    """What is no comparison, by name and unit."""


def report(suite: str, rounds: Mapping[str, Sequence[Measured]]) -> SuiteReport:
    """*Raises* `KeyError` where we did not take part."""
    ratios = {name: _ratios(rounds[OURS], theirs) for name, theirs in rounds.items() if name != OURS}
    return SuiteReport(
        suite,
        {name: round(median(found), 3) for name, found in ratios.items()},
        {name: (round(min(found), 3), round(max(found), 3)) for name, found in ratios.items()},
        {name: _standing(measured) for name, measured in rounds.items()},
        {name: list(measured) for name, measured in rounds.items()},
        [
            f"{name} answers {measured.answer!r} in round {number}, not {measured.expected!r}"
            for name, taken in rounds.items()
            for number, measured in enumerate(taken, 1)
            if measured.answer != measured.expected
        ],
    )


def _ratios(ours: Sequence[Measured], theirs: Sequence[Measured]) -> list[float]:
    """Paired: both of a round had the machine as it was then."""
    return [their.cost_us / our.cost_us for our, their in zip(ours, theirs, strict=True)]


def _standing(measured: Sequence[Measured]) -> Standing:
    return Standing(
        round(median(one.events / one.cpu_s for one in measured)),
        round(median(one.events / one.wall_s for one in measured)),
        round(max(one.peak_mib for one in measured), 1),
    )
