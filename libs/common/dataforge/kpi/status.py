"""Whether a window can still change. Pure.

- `provisional`: events may still come.
- `settled`: closed in every partition that is not idle. An idle partition that wakes may still change it.
- `final`: sealed in every partition by its own log; nothing that the log may still bring can change it.

*Guarantees*: over reads of which none is older than the one before, a window's status only moves forward, in
this order, because no partition's watermark or floor ever goes back. A store that lost its last second takes
status back together with rows and positions.
"""

from collections.abc import Collection
from typing import Literal, Protocol

Status = Literal["provisional", "settled", "final"]


class Progress(Protocol):
    """How far one partition has come; both in ms of event time, 0 where there is none."""

    @property
    def watermark(self) -> int: ...

    @property
    def floor(self) -> int: ...


def is_idle(partition: Progress) -> bool:
    """True where the others' windows are settled without waiting for this partition."""
    return partition.floor > partition.watermark


def window_status(end_ms: int, lateness_ms: int, partitions: Collection[Progress]) -> Status:
    """Status of the window that ends at `end_ms`, from *all* partitions of its event.

    A partition without a single record is an idle one: were it left out, its first record would make a `final`
    window provisional again.
    """
    sealed_at_ms = end_ms + lateness_ms
    if partitions and all(sealed_at_ms <= max(p.watermark, p.floor) for p in partitions):
        return "final" if all(sealed_at_ms <= p.watermark for p in partitions) else "settled"
    return "provisional"
