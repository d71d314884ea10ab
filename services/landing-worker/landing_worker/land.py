"""Land: which records become one object, and what its footer says. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from dataforge.storage.landing_file import Footer, Mark, describe
from dataforge.stream.judged import Acceptance
from dataforge.stream.records import Record, RecordBatch


@dataclass(frozen=True, slots=True)
class Limits:
    """An object is cut when it reaches one of them."""

    max_age_s: float = 1.0
    max_rows: int = 50_000
    max_bytes: int = 16 * 1024 * 1024


@dataclass(slots=True)
class Buffer:
    """Consecutive records waiting to become an object; it begins where the chain ends."""

    start: int
    next: int = 0
    records: list[Record] = field(default_factory=list)
    bytes: int = 0
    since_s: float = 0.0
    """When the first record came in, by the worker's monotonic clock."""

    def __post_init__(self) -> None:
        self.next = max(self.next, self.start)

    def add(self, batch: RecordBatch, now_s: float) -> None:
        if not self.records:
            self.since_s = now_s
        self.records.extend(batch.records)
        self.bytes += sum(len(r.value or b"") + len(r.key or b"") for r in batch.records)
        self.next = batch.next

    def due(self, limits: Limits, now_s: float) -> bool:
        if not self.records:
            return False
        full = len(self.records) >= limits.max_rows or self.bytes >= limits.max_bytes
        return full or now_s >= self.since_s + limits.max_age_s


@dataclass(slots=True)
class Chained:
    """What the footers of a partition carry from one object to the next."""

    topic: str
    partition: int
    topic_id: str
    acceptance: Acceptance | None = None
    """Judged topics only."""
    last_src: Mark | None = None

    def footer(self, buffer: Buffer) -> Footer:
        """The footer of the buffer as the next object; moves the acceptance fold over it."""
        if self.acceptance is not None:
            self._accept(self.acceptance, buffer.records)
        return describe(
            buffer.records,
            topic=self.topic,
            partition=self.partition,
            topic_id=self.topic_id,
            start=buffer.start,
            following=buffer.next,
            accepted_next=self.acceptance.next if self.acceptance else None,
            last_src=self.last_src,
        )

    def _accept(self, acceptance: Acceptance, records: Sequence[Record]) -> None:
        for _, stamp in acceptance.accepted(records):
            self.last_src = Mark(stamp.src, stamp.ts, stamp.crc)


def same_object(ours: Footer, theirs: Footer) -> bool:
    """Whether an object that exists is what we put: an own PUT that timed out and succeeded all the same."""
    return (ours.start, ours.next, ours.count, ours.crc, ours.fp) == (
        theirs.start, theirs.next, theirs.count, theirs.crc, theirs.fp
    )  # fmt: skip
