"""Which faults hit when. Pure and seeded: the same arguments give the same schedule."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from devstack.chaos.fault import Fault, Kind

LEAD_S = 5.0
"""Before the first fault: the platform runs steadily first."""
OVERLAPPING = 0.2
"""Share of faults that begin while the one before is in force, or has just been."""
_SHORT_S = 2.0
"""What counts as "just been" after a fault that is over at once."""
_LONG_SHARE = 0.5
"""The most of the time between two faults that one may be in force, where its kind allows less."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault to come.

    *Units*: seconds; `at_s` from the replay's begin, never before it. A fault that follows another waits for its
    recovery; one that overlaps (`after_s` not None) begins that long after the one before began.
    """

    number: int
    kind: str
    fault: Fault
    at_s: float
    duration_s: float
    after_s: float | None = None


def schedule(kinds: Mapping[str, Kind], faults: int, minutes: float, seed: int) -> list[Planned]:
    """`faults` of them, spread over `minutes`; each kind at least once where there are enough; the rest by weight.

    A final kind comes last, once, where it is drawn. *Raises* `ValueError` without kinds.
    """
    if not kinds:
        raise ValueError("there are no kinds of fault to draw from")
    chosen = random.Random(seed)
    slot_s = max(0.0, minutes * 60 - LEAD_S) / max(1, faults)
    planned: list[Planned] = []
    for number, kind in enumerate(_order(kinds, faults, chosen), 1):
        most_s = max(kind.least_s, min(kind.most_s, slot_s * _LONG_SHARE))
        duration_s = chosen.uniform(kind.least_s, most_s)
        at_s, after_s = LEAD_S + slot_s * (number - 1 + 0.5 * chosen.random()), None
        overlaps = chosen.random() < OVERLAPPING
        if overlaps and planned and not kind.final:
            before = planned[-1]
            after_s = chosen.uniform(0.0, max(before.duration_s, _SHORT_S))
            at_s = before.at_s + after_s
        planned.append(Planned(number, kind.name, kind.draw(chosen), at_s, duration_s, after_s))
    return planned


def _order(kinds: Mapping[str, Kind], faults: int, chosen: random.Random) -> Sequence[Kind]:
    lasting = [kind for kind in kinds.values() if not kind.final]
    final = [kind for kind in kinds.values() if kind.final]
    closing = final[: max(0, faults - len(lasting))] if lasting else final[:faults]
    room = faults - len(closing)
    drawn = chosen.sample(lasting, min(room, len(lasting)))
    if lasting:
        drawn += chosen.choices(lasting, [kind.weight for kind in lasting], k=room - len(drawn))
    chosen.shuffle(drawn)
    return [*drawn, *closing]
