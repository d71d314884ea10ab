"""Land: which records become one object, and what its footer says. Pure."""

from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from dataforge.storage.landing_file import Footer, describe, encode
from dataforge.stream.judged import Acceptance, stamps, unpack
from dataforge.stream.origin import Mark
from dataforge.stream.records import Record, RecordBatch


@dataclass(frozen=True, slots=True)
class Limits:
    """An object is cut when it reaches one of them; the batch that reaches it is the object's last."""

    max_age_s: float = 1.0
    max_rows: int = 50_000
    max_bytes: int = 16 * 1024 * 1024


class LandedLog(NamedTuple):
    """The log that is landed."""

    topic: str
    partition: int
    topic_id: str
    """Hex."""
    judged: bool


@dataclass(slots=True)
class Run:
    """Consecutive records, from where the chain ends (`start`) to where the last batch ended (`next`)."""

    start: int
    next: int = -1
    records: list[Record] = field(default_factory=list)
    bytes: int = 0
    since_s: float = 0.0
    """When its first record came, by the worker's clock."""

    def add(self, batch: RecordBatch, now_s: float) -> None:
        if not self.records:
            self.since_s = now_s
        self.records.extend(batch.records)
        self.bytes += sum([len(r.value or b"") + len(r.key or b"") for r in batch.records])
        self.next = batch.next

    def full(self, limits: Limits) -> bool:
        return len(self.records) >= limits.max_rows or self.bytes >= limits.max_bytes

    def due(self, limits: Limits, now_s: float) -> bool:
        """Never without records: a stretch of the log that holds none goes into the next object's range."""
        return bool(self.records) and (self.full(limits) or now_s >= self.since_s + limits.max_age_s)


def land(log: LandedLog, before: Footer | None, run: Run) -> tuple[Footer, bytes]:
    """The object that follows `before` in the chain. The same run gives the same bytes."""
    footer = describe(
        run.records,
        topic=log.topic,
        partition=log.partition,
        topic_id=log.topic_id,
        start=run.start,
        following=run.next,
    )
    if log.judged:
        acceptance = Acceptance((before and before.accepted_next) or 0)
        last_src = before.last_src if before else None
        if accepted := acceptance.accept(stamps(run.records))[0]:
            stamp = unpack(run.records[accepted[-1]].headers)
            last_src = Mark(stamp.src, stamp.ts, stamp.crc)
        footer = msgspec.structs.replace(footer, accepted_next=acceptance.next, last_src=last_src)
    return footer, encode(run.records, footer)
