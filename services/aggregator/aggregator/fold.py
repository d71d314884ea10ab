"""The fold: judged records in, KPI rows, watermark and ledger out. Pure; the log is its only clock.

*Guarantees* (DESIGN R4, R6, R6a): the result depends on the accepted records in their order and on
nothing else: not on where batches end, not on restarts, not on the time of day. Each accepted record has
exactly one outcome. Exact measures are bitwise equal on every re-read.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dataforge.stream.judged import Acceptance, Stamp, Verdict, reason_of, unpack
from dataforge.stream.origin import NO_ID
from dataforge.stream.records import Record

from aggregator.contribute import Contribute, Pending, Revised
from aggregator.dedupe import MINUTE_MS, SeenIds

Decode = Callable[[bytes], tuple[Any, str, int]]
"""value -> (event as the contribution reads it, event id, event time in ms)"""


def new_minute(position: int, following: int, watermark: int) -> dict[str, Any]:
    """A ledger minute whose first accepted record is the judged one at `position`: from there, with this raw
    `next` and this watermark (ms), its records can be folded again.
    """
    counts = {"valid": 0, "quarantined": {}, "undecodable": {}, "counted": 0, "duplicate": 0, "late": 0}
    return counts | {"position": position, "next": following, "watermark": watermark}


class Fingerprint(NamedTuple):
    """The last judged record folded: notices a replaced log (R6b)."""

    offset: int
    timestamp: int
    crc: int


@dataclass(slots=True)
class Fold:
    """A partition between two commits: the log's position, and what its records added since the last drain."""

    decode: Decode
    contribute: Contribute
    tables: int
    lateness_ms: int
    seen: SeenIds
    position: int = 0
    acceptance: Acceptance = field(default_factory=Acceptance)
    watermark: int = 0
    clock: int = 0
    ledger: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Minute of raw append time -> counts by outcome, and where its first accepted record stands."""
    last: Fingerprint | None = None
    topic_id: bytes = b""
    """Of the raw log, as the last accepted record says."""
    judged_id: bytes = NO_ID
    """Of the log that is folded, as its owner saw it."""
    pending: list[Pending] = field(init=False)
    revised: list[Revised] = field(default_factory=list)
    new_ids: dict[int, list[str]] = field(default_factory=dict)
    """Minute of the log clock -> ids first seen since the last drain."""
    forgotten: list[int] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)
    """Ledger minutes that changed since the last drain."""
    stored_ids: dict[int, list[str]] = field(default_factory=dict)
    """Minute of the log clock -> keys of the stored id lists, to be removed with the minute."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Valid records by outcome, since somebody took note of them."""
    gap: Stamp | None = None
    """A verdict that claims a log position never seen; cleared by the next accepted record."""

    def __post_init__(self) -> None:
        self.pending = [{} for _ in range(self.tables)]

    def fold(self, records: Sequence[Record], position: int) -> None:
        """Fold a batch and move to `position`. *Raises*: only where a record is not a judge's (`Fatal`)."""
        counts: dict[str, Any] = {}
        minute, acceptance = -1, self.acceptance
        for record in records:
            stamp, following = unpack(record.headers), acceptance.next
            if not acceptance.accepts(stamp):
                self.gap = stamp if acceptance.gap(stamp) else self.gap
                continue
            if stamp.ts - stamp.ts % MINUTE_MS != minute:
                minute = stamp.ts - stamp.ts % MINUTE_MS
                # Append times may go back a little where the log's leader changed: a minute can come again.
                counts = self.ledger.setdefault(minute, new_minute(record.offset, following, self.watermark))
                self.touched.add(minute)
            if stamp.ts > self.clock:
                self.clock = stamp.ts
                self.forgotten += self.seen.advance(stamp.ts)
            if stamp.verdict is Verdict.VALID:
                counts["valid"] += 1
                outcome = self._count(record, stamp.ts)
                counts[outcome] += 1
                self.outcomes[outcome] += 1
            else:
                reasons = counts[stamp.verdict.name.lower()]
                reason = reason_of(record.headers)
                reasons[reason] = reasons.get(reason, 0) + 1
            self.gap = None
            self.topic_id = stamp.topic_id
        if records:
            last = records[-1]
            self.last = Fingerprint(last.offset, last.timestamp, unpack(last.headers).crc)
        self.position = position

    def _count(self, record: Record, ts: int) -> str:
        event, event_id, event_ms = self.decode(record.value or b"")
        if not self.seen.first(event_id):
            return "duplicate"
        self.new_ids.setdefault(self.seen.minute, []).append(event_id)
        watermark = self.watermark
        if event_ms + self.lateness_ms <= watermark:
            return "late"
        self.contribute(event, event_ms, watermark, self.pending, self.revised)
        seen_until = min(event_ms, ts)
        if seen_until > watermark:
            self.watermark = seen_until
        return "counted"

    def ids_of(self, minutes: set[int]) -> list[str]:
        """Keys of the stored id lists of minutes that were forgotten."""
        return [key for minute in sorted(minutes) for key in self.stored_ids.pop(minute, ())]

    def drained(self, position: int) -> None:
        """Begin anew after everything pending went into a commit at `position`."""
        for minute in self.new_ids:
            if minute not in self.forgotten:
                self.stored_ids.setdefault(minute, []).append(f"{minute}:{position}")
        self.pending = [{} for _ in range(self.tables)]
        self.revised, self.new_ids, self.forgotten = [], {}, []
        self.touched = set()
