"""Counted, duplicate or late? Decided again, from the ledger's minutes and the log, as the aggregator decided it.

A ledger minute says where its first record stands, and the watermark before it. So the watermark before any record
is that, and the greatest min(event time, append time) since then of records that are no duplicates; and a record is
a duplicate where its id was remembered, that is, was first seen within the dedupe horizon of log time. Both need the
log of one horizon, read once; further back only where the id itself was seen before.
"""

import heapq
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from dataforge.contracts.compile import projection, time_ms
from dataforge.contracts.model import EventType
from dataforge.ledger.balance import MINUTE_MS
from dataforge.stream.judged import Verdict
from dataforge.stream.records import TopicPartition

from query_api.receipt.past import Accepted, Past, Place

_CANDIDATES = 8
"""Records tried for the watermark at first: the greatest is nearly always no duplicate."""


class Checkpoint(NamedTuple):
    minute: int
    place: Place
    watermark: int


class Decided(NamedTuple):
    """`kind` counted, duplicate or late; unknown where the ledger does not reach back far enough."""

    kind: str
    watermark: int = 0
    """Before the record, ms."""
    duplicate_of: int | None = None
    """Raw offset of the record that was counted or late in its place."""


class Read(NamedTuple):
    """What the aggregator's decode reads of a valid record."""

    id: str
    at_ms: int


def reader(event: EventType) -> Callable[[bytes], Read]:
    """*Raises* (when called) msgspec's errors where the value is no such event."""
    contract = event.contract
    found = projection(contract, {contract.id_field, contract.time_field})
    id_of, at_of, ms = found.attributes[contract.id_field], found.attributes[contract.time_field], time_ms(contract)

    def read(value: bytes) -> Read:
        event = found.decoder.decode(value)
        return Read(str(getattr(event, id_of)), ms(getattr(event, at_of)))

    return read


def may_hold(ids: Iterable[str], *, numeric: bool) -> Callable[[bytes], bool]:
    """A quick test before decoding: False only where the JSON text cannot hold any of these ids.

    A text with escapes can write an id in other letters, and a number has many forms: those are always decoded.
    """
    if numeric:
        return lambda value: True
    search = re.compile(b"|".join([rb"\\", *(re.escape(one.encode()) for one in ids)])).search
    return lambda value: search(value) is not None


class Checkpoints:
    """A partition's ledger minutes as places to begin from. Pure."""

    def __init__(self, ledger: Mapping[int, Mapping[str, Any]], ttl_ms: int) -> None:
        found = [
            Checkpoint(minute, Place(entry["position"], entry["next"]), entry["watermark"])
            for minute, entry in ledger.items()
            if "position" in entry
        ]
        self._by_position = sorted(found, key=lambda c: c.place)
        self._positions = [c.place.position for c in self._by_position]
        self._kept_ms = max((c.minute for c in found), default=0) - ttl_ms

    def before(self, position: int) -> Checkpoint | None:
        """The last one at or before a judged offset."""
        at = bisect_right(self._positions, position)
        return self._by_position[at - 1] if at else None

    def of_raw(self, offset: int) -> Place | None:
        """Where the verdict of this raw offset is found by reading on."""
        at = bisect_right([c.place.next for c in self._by_position], offset)
        return self._by_position[at - 1].place if at else None

    def clock(self, position: int) -> int:
        """The log clock's minute at the record with this judged offset."""
        return max(c.minute for c in self._by_position if c.place.position <= position)

    def after(self, minute: int) -> Place | None:
        """Where the log clock first passes this minute; None where that is further back than the ledger reaches."""
        later = [c for c in self._by_position if c.minute > minute]
        whole = minute >= self._kept_ms or len(later) < len(self._by_position)
        if later and (whole or later[0].place.next == 0):
            return later[0].place
        return None

    def since(self, minute: int) -> Place | None:
        """Where the oldest kept minute begins that is not before this one."""
        return next((c.place for c in self._by_position if c.minute >= minute), None)


class Seen(NamedTuple):
    """One valid record with a certain id."""

    position: int
    src: int
    clock: int
    """The log clock's minute at it."""


def firsts(seen: Iterable[Seen], horizon_ms: int) -> list[Seen]:
    """Of all records with one id, in order, those that were no duplicates: the id was not remembered then. Pure."""
    kept: list[Seen] = []
    for one in seen:
        if not kept or not remembered(kept[-1], one.clock, horizon_ms):
            kept.append(one)
    return kept


def remembered(first: Seen, clock: int, horizon_ms: int) -> bool:
    """Ids are forgotten by whole minutes: at least the horizon, less than a minute more."""
    return first.clock + MINUTE_MS + horizon_ms > clock


class _Candidate(NamedTuple):
    """A record that would have moved the watermark to `value`, if it was no duplicate."""

    value: int
    position: int
    id: str


@dataclass
class Refold:
    """Over one judged partition."""

    past: Past
    tp: TopicPartition
    event: EventType
    checkpoints: Checkpoints

    def __post_init__(self) -> None:
        contract = self.event.contract
        self._read = reader(self.event)
        self._numeric = contract.fields[contract.id_field].type == "integer"

    async def decide(self, found: Accepted) -> Decided:
        """What the aggregator made of a valid accepted record. *Raises* `Transient`, `Fatal` as reading does."""
        event, position = self._read(found.record.value or b""), found.record.offset
        checkpoint = self.checkpoints.before(position)
        if checkpoint is None:
            return Decided("unknown")
        among = _CANDIDATES
        while True:
            candidates = await self._greatest(checkpoint, position, among)
            first = await self._firsts({event.id, *(one.id for one in candidates)}, checkpoint, position)
            if first is None:
                return Decided("unknown")
            new = [c.value for c in candidates if any(one.position == c.position for one in first[c.id])]
            if new or len(candidates) < among:
                break
            among *= _CANDIDATES  # all of them duplicates
        watermark = max([checkpoint.watermark, *new])
        clock, horizon_ms = self.checkpoints.clock(position), self.event.dedupe_ms
        before = first[event.id][-1:]
        if before and remembered(before[0], clock, horizon_ms):
            return Decided("duplicate", watermark, before[0].src)
        late = event.at_ms + self.event.lateness_ms <= watermark
        return Decided("late" if late else "counted", watermark)

    async def _greatest(self, checkpoint: Checkpoint, position: int, among: int) -> list[_Candidate]:
        """The records since the checkpoint that would have moved the watermark furthest, furthest first.

        Those that were late are among them, and never the furthest: a late one lies below the watermark.
        """
        heap: list[_Candidate] = []
        async for record, stamp in self.past.accepted(self.tp, checkpoint.place, position):
            if stamp.verdict is not Verdict.VALID:
                continue
            event = self._read(record.value or b"")
            value = min(event.at_ms, stamp.ts)
            if value > checkpoint.watermark and (len(heap) < among or value > heap[0].value):
                push = heapq.heappush if len(heap) < among else heapq.heapreplace
                push(heap, _Candidate(value, record.offset, event.id))
        return sorted(heap, reverse=True)

    async def _firsts(self, ids: set[str], checkpoint: Checkpoint, position: int) -> dict[str, list[Seen]] | None:
        """Of each id, the records before `position` that were no duplicates, as far back as matters.

        None where that is further back than the ledger reaches.
        """
        oldest = self.checkpoints.clock(checkpoint.place.position)
        found: dict[str, list[Seen]] = {one: [] for one in ids}
        end, wanted = position, ids
        while wanted:
            start = self.checkpoints.after(oldest - MINUTE_MS - self.event.dedupe_ms)
            if start is None:
                return None
            if start.position >= end:
                break
            more = await self._seen(wanted, start, end)
            for one, seen in more.items():
                found[one] = seen + found[one]
            # Whether the first of those was one itself depends on what was before it.
            wanted = {one for one, seen in more.items() if seen}
            end, oldest = start.position, min((found[one][0].clock for one in wanted), default=0)
        return {one: firsts(seen, self.event.dedupe_ms) for one, seen in found.items()}

    async def _seen(self, ids: set[str], start: Place, end: int) -> dict[str, list[Seen]]:
        found: dict[str, list[Seen]] = {one: [] for one in ids}
        may_be = may_hold(ids, numeric=self._numeric)
        async for record, stamp in self.past.accepted(self.tp, start, end):
            value = record.value or b""
            if stamp.verdict is Verdict.VALID and may_be(value) and (one := self._read(value).id) in found:
                clock = self.checkpoints.clock(record.offset)
                found[one].append(Seen(record.offset, stamp.src, clock))
        return found
