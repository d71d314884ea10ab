"""What verifying found: per check how much was looked at, and the first thing that does not fit."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

CHECKS = (
    "raw landing",
    "raw log",
    "judged landing",
    "judged log",
    "verdicts",
    "quarantine",
    "ledger",
)
"""In the order in which they are made and shown."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event type, as far as its records are counted again."""

    domain: str
    name: str
    """`<domain>.<event>.v<N>`: topics and state keys are named by it."""
    partitions: int
    id_field: str
    time_field: str
    time_format: str
    """date-time, epoch_ms or epoch_s."""
    lateness_ms: int
    dedupe_ms: int
    ttl_ms: int

    def topic(self, kind: str) -> str:
        return f"{kind}.{self.name}"


class Misfit(msgspec.Struct, frozen=True):
    """The first record that does not fit, of one check."""

    topic: str
    partition: int
    offset: int
    what: str
    expected: Any
    found: Any


class Check(msgspec.Struct):
    """One check of one partition."""

    name: str
    topic: str
    partition: int
    looked_at: int = 0
    """Records, and minutes of the ledger."""
    misfits: int = 0
    first: Misfit | None = None
    notes: list[str] = []

    def misfit(self, offset: int, what: str, expected: Any, found: Any) -> None:
        self.misfits += 1
        if self.first is None:
            self.first = Misfit(self.topic, self.partition, offset, what, expected, found)


class Report(msgspec.Struct):
    domain: str
    checks: list[Check] = []

    @property
    def clean(self) -> bool:
        return not any(check.misfits for check in self.checks)


@dataclass(slots=True)
class Checks:
    """The checks of one partition of an event."""

    event: Event
    partition: int
    made: dict[str, Check] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Check:
        kind = {"judged landing": "judged", "judged log": "judged", "quarantine": "quarantine"}.get(name, "raw")
        return self.made.setdefault(name, Check(name, self.event.topic(kind), self.partition))
