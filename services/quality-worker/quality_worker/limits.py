"""When too much is rejected. Pure: the same records in any batches trip at the same one.

A share is said of a full window only: a lone bad record, or a bad start, is no share of anything.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple


class Limits(NamedTuple):
    max_rejected_ratio: float = 0.2
    """Of the last `window` records. 1 switches this limit off."""
    window: int = 1_000
    max_consecutive: int = 1_000
    """Rejected records in a row, however many came before."""


class Measured(NamedTuple):
    """What one partition has seen since it was opened or resumed."""

    judged: int = 0
    run: int = 0
    """Rejected records in a row, up to now."""
    rejected: tuple[int, ...] = ()
    """Of the rejected records within the window, the how manieth each was: ascending, the first record is 1."""


class Trip(NamedTuple):
    """A limit that was passed."""

    rejected: int
    of: int
    """The last so many records; `rejected` where they came in a row."""


def measure(before: Measured, limits: Limits, count: int, rejected: Sequence[int]) -> Measured | Trip:
    """Go on measuring with `count` records, of which those at these indexes (ascending) were rejected."""
    if not rejected:
        return before._replace(judged=before.judged + count, run=0 if count else before.run)
    recent, run, previous = deque(before.rejected), before.run, -1
    for index in rejected:
        run = run + 1 if index == previous + 1 else 1
        previous = index
        ordinal = before.judged + index + 1
        recent.append(ordinal)
        while recent[0] <= ordinal - limits.window:
            recent.popleft()
        if run > limits.max_consecutive:
            return Trip(run, run)
        if ordinal >= limits.window and len(recent) > limits.max_rejected_ratio * limits.window:
            return Trip(len(recent), limits.window)
    return Measured(before.judged + count, run if previous == count - 1 else 0, tuple(recent))
