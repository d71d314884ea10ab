"""The fold: judged records in, KPI rows, watermark and ledger out. Pure; the log is its only clock.

*Guarantees* (DESIGN R4, R6, R6a): the result depends on the accepted records in their order and on
nothing else: not on where batches end, not on restarts, not on the time of day. Each accepted record has
exactly one outcome. Exact measures are bitwise equal on every re-read.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dataforge.stream.judged import VALID_TAG, Acceptance, Stamp, reason_of, stamps, unpack, verdict_of
from dataforge.stream.origin import NO_ID
from dataforge.stream.records import Record

from aggregator.contribute import Begun, Contribute, Pending, Revised
from aggregator.dedupe import MINUTE_MS, SeenIds

Decode = Callable[[Sequence[bytes]], tuple[Sequence[Any], list[str], Sequence[int]]]
"""Values -> their events as the contribution reads them, event ids, and event times in ms."""


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
    begun: list[Begun] = field(init=False)
    revised: list[Revised] = field(init=False)
    forgotten: list[int] = field(init=False)
    touched: set[int] = field(init=False)
    """Ledger minutes that changed since the last drain."""
    stored_ids: dict[int, list[str]] = field(default_factory=dict)
    """Minute of the log clock -> keys of the stored id lists, to be removed with the minute."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Valid records by outcome, since somebody took note of them."""
    gap: Stamp | None = None
    """A verdict that claims a log position never seen; cleared by the next accepted record."""

    def __post_init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.pending, self.begun = [{} for _ in range(self.tables)], [[] for _ in range(self.tables)]
        self.revised, self.forgotten, self.touched = [], [], set()

    def fold(self, records: Sequence[Record], position: int) -> None:
        """Fold a batch and move to `position`. *Raises*: only where a record is not a judge's (`Fatal`).

        Minute by minute of the ledger: nearly always a batch is within one.
        """
        said, following = stamps(records), self.acceptance.next
        accepted, gap = self.acceptance.accept(said)
        if len(accepted) == len(records):
            kept, ts, tags = records, said.ts, said.tags
        else:
            kept = [records[i] for i in accepted]
            ts, tags = ([column[i] for i in accepted] for column in (said.ts, said.tags))
        for begin, end in _minutes(ts):
            self._fold_minute(kept[begin:end], ts[begin:end], tags[begin:end], following)
            following = int(said.src[accepted[end - 1]]) + 1
        if kept:
            self.gap, self.topic_id = None, unpack(kept[-1].headers).topic_id
        if gap is not None:
            self.gap = unpack(records[gap].headers)
        if records:
            last = records[-1]
            self.last = Fingerprint(last.offset, last.timestamp, unpack(last.headers).crc)
        self.position = position

    def _fold_minute(self, records: Sequence[Record], ts: list[int], tags: list[int], following: int) -> None:
        """Accepted records, the append times (ms) of their raw ones, all in one ledger minute, and the raw `next`
        before them.
        """
        if ts[0] >= self.seen.until:
            self.forgotten += self.seen.advance(ts[0])
        self.clock = max(self.clock, *ts)
        minute = ts[0] - ts[0] % MINUTE_MS
        # Append times may go back a little where the log's leader changed: a minute can come again.
        counts = self.ledger.setdefault(minute, new_minute(records[0].offset, following, self.watermark))
        self.touched.add(minute)
        if tags.count(VALID_TAG) == len(tags):
            values = [record.value or b"" for record in records]
        else:
            valid = [i for i, tag in enumerate(tags) if tag == VALID_TAG]
            values, ts = [records[i].value or b"" for i in valid], [ts[i] for i in valid]
            for tag, record in zip(tags, records, strict=True):
                if tag != VALID_TAG:
                    reasons, reason = counts[verdict_of(tag).name.lower()], reason_of(record.headers)
                    reasons[reason] = reasons.get(reason, 0) + 1
        for outcome, number in self._count(values, ts).items():
            if number:
                counts["valid"] += number
                counts[outcome] += number
                self.outcomes[outcome] += number

    def _count(self, values: Sequence[bytes], ts: Sequence[int]) -> dict[str, int]:
        """Valid records, and the append times (ms) of their raw ones. Returns outcomes."""
        events, event_ids, times = self.decode(values)
        first = self.seen.first(event_ids)
        if len(first) < len(values):
            events, times, ts = ([column[i] for i in first] for column in (events, times, ts))
        self.watermark, late = self.contribute(
            events, times, ts, self.lateness_ms, self.watermark, self.pending, self.begun, self.revised
        )
        return {"counted": len(first) - late, "duplicate": len(values) - len(first), "late": late}

    def ids_of(self, minutes: set[int]) -> list[str]:
        """Keys of the stored id lists of minutes that were forgotten."""
        return [key for minute in sorted(minutes) for key in self.stored_ids.pop(minute, ())]

    def drained(self, position: int) -> None:
        """Begin anew after everything pending went into a commit at `position`."""
        for minute in self.seen.drain():
            self.stored_ids.setdefault(minute, []).append(f"{minute}:{position}")
        self._begin()


def _minutes(ts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """[begin, end) of each run of times in one minute. Pure."""
    begin = 0
    while begin < len(ts):
        minute = ts[begin] - ts[begin] % MINUTE_MS
        if begin == 0 and min(ts) >= minute and max(ts) < minute + MINUTE_MS:
            end = len(ts)  # as nearly always
        else:
            end = next((i for i in range(begin, len(ts)) if not minute <= ts[i] < minute + MINUTE_MS), len(ts))
        yield begin, end
        begin = end
