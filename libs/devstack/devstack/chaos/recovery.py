"""How long each stage took to come back after a fault. Pure, over what was seen from outside."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

Positions = Mapping[int, int]
"""Partition -> raw offset before which a stage has done everything."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A stage's answer. *Units*: seconds of one monotonic clock."""

    at_s: float
    positions: Positions


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that happened, and where the raw log ended when its cause was gone."""

    number: int
    injected_s: float
    healed_s: float
    ends: Positions


def passed(positions: Positions, ends: Positions) -> bool:
    return all(positions.get(partition, 0) >= end for partition, end in ends.items())


def moved_on(positions: Positions, ends: Positions) -> bool:
    """Further than all of them: a log that nobody can append to has an end that is easily reached."""
    return all(positions.get(partition, 0) > end for partition, end in ends.items())


def behind(positions: Positions, ends: Positions) -> int:
    """Records."""
    return sum(max(0, end - positions.get(partition, 0)) for partition, end in ends.items())


def back_at(history: Sequence[Seen], after_s: float, ends: Positions) -> float | None:
    """The first moment from `after_s` on at which a stage was seen to have moved on past `ends`."""
    start = bisect_left(history, after_s, key=attrgetter("at_s"))
    return next((seen.at_s for seen in history[start:] if moved_on(seen.positions, ends)), None)


def recovery_s(struck: Struck, others: Iterable[Struck], history: Sequence[Seen]) -> float | None:
    """Seconds from the heal of the last overlapping fault until the stage has moved on past the log end of that moment.

    A fault overlaps if it was injected before the stage was back, counted in the same way; one that was in force before
    `struck`, if it was over before then: else the stage came back in spite of it. None: never back.
    """
    last, others = struck, sorted(others, key=attrgetter("injected_s"))
    while True:
        back_s = back_at(history, last.healed_s, last.ends)
        limit_s = float("inf") if back_s is None else back_s
        for other in others:
            met_s = other.injected_s if other.injected_s >= struck.injected_s else other.healed_s
            if last.healed_s < other.healed_s and met_s < limit_s:
                last = other
                break
        else:
            return None if back_s is None else back_s - last.healed_s


def recoveries(faults: Sequence[Struck], histories: Mapping[str, Sequence[Seen]]) -> dict[int, dict[str, float | None]]:
    """Number of the fault -> stage -> seconds, rounded to a tenth."""
    found: dict[int, dict[str, float | None]] = {}
    for struck in faults:
        took = {stage: recovery_s(struck, faults, history) for stage, history in histories.items()}
        found[struck.number] = {stage: None if s is None else round(s, 1) for stage, s in took.items()}
    return found
