"""The ledger's identity, per partition and minute of append time (DESIGN R6). Pure.

*received = landed = valid + quarantined + undecodable* and *valid = counted + duplicate + late*: of a minute that
landing and counting have both passed. *Source*: docs/specs/ledger.md.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of records. Every judged one is valid, quarantined or undecodable."""

    valid: int = 0
    counted: int = 0
    duplicate: int = 0
    late: int = 0
    quarantined: Mapping[str, int] = field(default_factory=dict)
    undecodable: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "Counts":
        """From a ledger minute as the state store holds it; what it does not name is 0."""
        one = (entry.get(name, 0) for name in ("valid", "counted", "duplicate", "late"))
        return cls(*one, *(dict(entry.get(name, {})) for name in ("quarantined", "undecodable")))

    @property
    def judged(self) -> int:
        return self.valid + sum(self.quarantined.values()) + sum(self.undecodable.values())

    @property
    def balanced(self) -> bool:
        return self.valid == self.counted + self.duplicate + self.late


def added(counts: Iterable[Counts]) -> Counts:
    plain: Counter[str] = Counter()
    quarantined: Counter[str] = Counter()
    undecodable: Counter[str] = Counter()
    for one in counts:
        plain.update(valid=one.valid, counted=one.counted, duplicate=one.duplicate, late=one.late)
        quarantined.update(one.quarantined)
        undecodable.update(one.undecodable)
    return Counts(**plain, quarantined=dict(quarantined), undecodable=dict(undecodable))


class Landed(NamedTuple):
    """A partition's landing chain, by its footers."""

    next: int = 0
    newest_ms: int = 0
    """Append time of the last landed record."""
    minutes: Mapping[int, int] = {}
    """Minute (ms) -> rows."""
    from_ms: int = 0
    """The first minute whose rows are all in `minutes`: footers are read from the newest back."""


class Counted(NamedTuple):
    """A partition's state, at one instant."""

    next: int = 0
    """Raw offset: every record below it is in the counts."""
    position: int = 0
    """Judged offset up to which it was read."""
    minutes: Mapping[int, Mapping[str, Any]] = {}


class Logs(NamedTuple):
    """Where Kafka's logs end."""

    raw_end: int = 0
    judged_end: int = 0


@dataclass(frozen=True, slots=True)
class Minute:
    at_ms: int
    counts: Counts
    landed: int | None
    """Rows landed; None where that is not known (the store is away, or the minute lies before what was read)."""
    closed: bool
    """Landing and counting have passed it, so it must balance; an open minute's records are on their way."""

    @property
    def received(self) -> int:
        """What some stage has seen: a record that one of two stages missed was received all the same."""
        return max(self.landed or 0, self.counts.judged)

    @property
    def balanced(self) -> bool:
        level = not self.closed or self.landed is None or self.landed == self.counts.judged
        return level and self.counts.balanced


@dataclass(frozen=True, slots=True)
class PartitionLedger:
    """A partition's stages (raw offsets but `position` and `judged_end`) and minutes, oldest first."""

    partition: int
    next: int
    position: int
    landed: int | None
    """Where the chain goes on; None while the object store is away."""
    raw_end: int | None
    judged_end: int | None
    """None while Kafka is away."""
    from_ms: int
    """Landed and counted are compared from this minute on: older ones have expired in one of them."""
    minutes: tuple[Minute, ...]

    @property
    def counts(self) -> Counts:
        return added(minute.counts for minute in self.minutes)

    @property
    def in_flight(self) -> int | None:
        """Offsets between the log's end and what is both landed and counted: an upper bound of records under way."""
        if self.raw_end is None:
            return None
        return max(0, self.raw_end - min(self.next, self.next if self.landed is None else self.landed))

    @property
    def unbalanced(self) -> tuple[Minute, ...]:
        return tuple(minute for minute in self.minutes if not minute.balanced)


def balance(partition: int, counted: Counted, landed: Landed | None, logs: Logs | None, ttl_ms: int) -> PartitionLedger:
    """Hold what is landed against what is counted.

    A minute is closed once both are in a later one, or both stand at the same offset. Where append times step back
    (the log's leader changed) a closed minute can grow again for a moment: an imbalance counts once it persists.
    """
    newest = max(counted.minutes, default=-1)
    # The state drops a minute once minute + MINUTE_MS + ttl <= its clock, and its clock is within its newest minute.
    from_ms = max(newest - ttl_ms + MINUTE_MS if counted.minutes else 0, landed.from_ms if landed else 0, 0)
    level = landed is not None and landed.next == counted.next
    passed = min(newest, landed.newest_ms - landed.newest_ms % MINUTE_MS) if landed else -1
    rows = {m: n for m, n in landed.minutes.items() if m >= from_ms} if landed else {}
    minutes = [
        Minute(
            at_ms=at,
            counts=Counts.of(counted.minutes.get(at, {})),
            landed=rows.get(at, 0) if landed and at >= from_ms else None,
            closed=landed is not None and (level or at < passed),
        )
        for at in sorted({*counted.minutes, *rows})
    ]
    return PartitionLedger(
        partition=partition,
        next=counted.next,
        position=counted.position,
        landed=landed.next if landed else None,
        raw_end=logs.raw_end if logs else None,
        judged_end=logs.judged_end if logs else None,
        from_ms=from_ms,
        minutes=tuple(minutes),
    )
