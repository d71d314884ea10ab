"""The fold: judged records in, KPI rows, watermark and ledger out. Pure; the log is its only clock.

*Guarantees* (DESIGN R4, R6, R6a): the result depends on the accepted records in their order and on
nothing else: not on where batches end, not on restarts, not on the time of day. Each accepted record has
exactly one outcome. Exact measures are bitwise equal on every re-read.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dataforge.stream.judged import VALID_TAG, Acceptance, Stamp, packed, reason_of, unpack, verdict_of
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
        """Fold a batch and move to `position`. *Raises*: only where a record is not a judge's (`Fatal`).

        Whatever every record needs is a local here, and written back at the end: this loop is what an event costs.
        """
        decode, contribute, lateness_ms = self.decode, self.contribute, self.lateness_ms
        pending, revised, seen = self.pending, self.revised, self.seen
        ids, remember = seen.ids, seen.current.append
        acceptance, watermark, clock, gap = self.acceptance, self.watermark, self.clock, self.gap
        accepts = acceptance.accepts
        counts: dict[str, Any] = {}
        minute = minute_end = counted = duplicate = late = 0
        accepted = b""
        for record in records:
            tag, src, base, ts, _, _, topic_id = packed(record.headers)
            following = acceptance.next
            if not accepts(base, src):
                gap = unpack(record.headers) if base > following else gap
                continue
            if not minute <= ts < minute_end:
                self._count(counts, counted, duplicate, late)
                counted = duplicate = late = 0
                minute = ts - ts % MINUTE_MS
                minute_end = minute + MINUTE_MS
                # Append times may go back a little where the log's leader changed: a minute can come again.
                counts = self.ledger.setdefault(minute, new_minute(record.offset, following, watermark))
                self.touched.add(minute)
            if ts > clock:
                clock = ts
                if ts >= seen.until:
                    self.forgotten += seen.advance(ts)
                    remember = seen.current.append
            accepted, gap = topic_id, None
            if tag != VALID_TAG:
                reasons, reason = counts[verdict_of(tag).name.lower()], reason_of(record.headers)
                reasons[reason] = reasons.get(reason, 0) + 1
                continue
            event, event_id, event_ms = decode(record.value or b"")
            if event_id in ids:
                duplicate += 1
                continue
            ids.add(event_id)
            remember(event_id)
            if event_ms + lateness_ms <= watermark:
                late += 1
                continue
            contribute(event, event_ms, watermark, pending, revised)
            counted += 1
            if event_ms > watermark < ts:
                watermark = event_ms if event_ms < ts else ts
        self._count(counts, counted, duplicate, late)
        self.watermark, self.clock, self.gap = watermark, clock, gap
        self.topic_id = accepted or self.topic_id
        if records:
            last = records[-1]
            self.last = Fingerprint(last.offset, last.timestamp, unpack(last.headers).crc)
        self.position = position

    def _count(self, counts: dict[str, Any], counted: int, duplicate: int, late: int) -> None:
        """Of one ledger minute."""
        for outcome, number in (("counted", counted), ("duplicate", duplicate), ("late", late)):
            if number:
                counts["valid"] += number
                counts[outcome] += number
                self.outcomes[outcome] += number

    def ids_of(self, minutes: set[int]) -> list[str]:
        """Keys of the stored id lists of minutes that were forgotten."""
        return [key for minute in sorted(minutes) for key in self.stored_ids.pop(minute, ())]

    def drained(self, position: int) -> None:
        """Begin anew after everything pending went into a commit at `position`."""
        for minute in self.seen.drain():
            self.stored_ids.setdefault(minute, []).append(f"{minute}:{position}")
        self.pending = [{} for _ in range(self.tables)]
        self.revised, self.forgotten = [], []
        self.touched = set()
