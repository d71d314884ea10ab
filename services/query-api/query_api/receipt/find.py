"""Follows one raw record through the stages: landed, judged, counted, visible."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import msgspec

from dataforge.contracts.model import OTHER, Domain, EventType
from dataforge.kpi.plan import Plan
from dataforge.ledger.balance import MINUTE_MS, Counted
from dataforge.ledger.observe import AWAY, Observer
from dataforge.state.store import StateReader
from dataforge.stream.judged import WARNINGS, Verdict, reason_of
from dataforge.stream.records import TopicPartition

from query_api.receipt.past import Accepted, Past, Place
from query_api.receipt.placed import Window, windows_of
from query_api.receipt.refold import Checkpoints, Decided, Refold, may_hold, reader

_MAX_FOUND = 100


class NoSuchRecord(Exception):
    """No record at this offset; the text says what there is."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Times in ms. None is "not yet" where the stage's state says pending, and "not known" otherwise."""

    offset: int
    landing: str
    """landed, pending, unknown (the object store is away)."""
    object: str | None
    judging: str
    """judged, pending, missing (the judged log goes on without it)."""
    counting: str
    """counted, duplicate, late, none (it is not valid), pending, unknown (older than the ledger keeps)."""
    appended_ms: int | None = None
    position: int | None = None
    """Of its record in the judged log."""
    verdict: str | None = None
    reason: str | None = None
    warnings: tuple[str, ...] = ()
    event_id: str | None = None
    event_ms: int | None = None
    watermark_ms: int | None = None
    duplicate_of: int | None = None
    late_by_ms: int | None = None
    windows: tuple[Window, ...] = field(default=())
    visible_since_ms: int | None = None
    visible_before_ms: int | None = None
    """Where the feed no longer says when: it was visible by then."""


class Searched(NamedTuple):
    partition: int
    records: int
    from_ms: int | None
    """Append time of the first record looked at."""
    to_ms: int | None


class Finder:
    """For one event type. *Raises* `Transient` where log or state are away."""

    def __init__(
        self, domain: Domain, event: EventType, plan: Plan, state: StateReader, observer: Observer, past: Past
    ) -> None:
        self._domain, self._event, self._plan = domain, event, plan
        self._state, self._observer, self._past = state, observer, past
        self._read = reader(event)

    async def receipt(self, partition: int, offset: int) -> Receipt:
        """*Raises* `NoSuchRecord`."""
        contract = self._event.contract
        raw, judged = (TopicPartition(topic, partition) for topic in (contract.raw_topic, contract.judged_topic))
        bounds = await self._past.log.bounds(raw)
        if offset >= bounds.end:
            raise NoSuchRecord(f"{raw.topic}/{partition} ends at {bounds.end}: no record has offset {offset} yet")
        landing, key = await self._landing(raw, offset)
        counted = await self._observer.counted(contract.name, partition)
        checkpoints = Checkpoints(counted.minutes, self._event.ttl_ms)
        found = await self._verdict(judged, offset, counted, checkpoints)
        if found is None or found.stamp.src != offset:
            record = await self._past.log.record_at(raw, offset)
            if record is None and (offset >= bounds.begin or found is not None):
                raise NoSuchRecord(
                    f"{raw.topic}/{partition} has no record at offset {offset}; its log goes from {bounds.begin} to "
                    f"{bounds.end} (a transaction's marks take offsets too)"
                )
            state = "pending" if found is None else "missing"
            at_ms = record.timestamp if record else None
            return Receipt(offset, landing, key, state, "pending" if found is None else "unknown", at_ms)
        receipt = Receipt(
            offset,
            landing,
            key,
            "judged",
            "none",
            appended_ms=found.stamp.ts,
            position=found.record.offset,
            verdict=found.stamp.verdict.name.lower(),
            reason=reason_of(found.record.headers) or None,
            warnings=tuple(w for k, v in found.record.headers if k == WARNINGS for w in v.decode().split(",")),
        )
        if found.stamp.verdict is not Verdict.VALID:
            return replace(receipt, counting="none" if offset < counted.next else "pending")
        return await self._counted(
            receipt, found, partition, counted, Refold(self._past, judged, self._event, checkpoints)
        )

    async def _landing(self, raw: TopicPartition, offset: int) -> tuple[str, str | None]:
        chain = self._observer.chain(raw)
        if chain is None:
            return "unknown", None
        try:
            key = await chain.key_of(offset)
        except AWAY:
            return "unknown", None
        return ("landed", key) if key else ("pending", None)

    async def _verdict(
        self, judged: TopicPartition, offset: int, counted: Counted, checkpoints: Checkpoints
    ) -> Accepted | None:
        """The accepted judged record of this raw offset, or the first after it; None where there is none yet."""
        if offset >= counted.next:
            start = Place(counted.position, counted.next)
        else:
            start = checkpoints.of_raw(offset) or await self._by_chain(judged, offset)
        async with aclosing(self._past.accepted(judged, start)) as accepted:
            async for one in accepted:
                if one.stamp.src >= offset:
                    return one
        return None

    async def _by_chain(self, judged: TopicPartition, offset: int) -> Place:
        """Older than the ledger keeps: the footers of the judged chain say what they hold; by halves."""
        minutes = self._observer.chain(judged)
        if minutes is None:
            return Place(0, 0)
        chain, place = minutes.chain, Place(0, 0)
        high = (await minutes.refresh()).next
        while place.position < high:
            start = await chain.start_of((place.position + high) // 2)
            if start is None:
                break
            footer = await chain.listed(start)
            accepted_next = footer.accepted_next or 0
            if accepted_next <= offset:
                place = Place(footer.next, accepted_next)
            else:
                high = start
        return place

    async def _counted(
        self, receipt: Receipt, found: Accepted, partition: int, counted: Counted, refold: Refold
    ) -> Receipt:
        value = found.record.value or b""
        event = self._read(value)
        receipt = replace(receipt, event_id=event.id, event_ms=event.at_ms)
        if receipt.offset >= counted.next:
            return replace(receipt, counting="pending")
        decided: Decided = await refold.decide(found)
        receipt = replace(receipt, counting=decided.kind, duplicate_of=decided.duplicate_of)
        if decided.kind == "unknown":
            return receipt
        receipt = replace(receipt, watermark_ms=decided.watermark)
        if decided.kind == "late":
            late_by_ms = decided.watermark - event.at_ms - self._event.lateness_ms
            return replace(receipt, late_by_ms=late_by_ms)
        if decided.kind == "duplicate":
            return receipt
        since, before = await self._visible(partition, found.record.offset)
        windows = tuple([w async for w in self._windows(value, event.at_ms, partition)])
        return replace(receipt, windows=windows, visible_since_ms=since, visible_before_ms=before)

    async def _windows(self, value: bytes, at_ms: int, partition: int) -> AsyncIterator[Window]:
        """As they are shown: a label that has no row of its own went to the shared one."""
        for window in windows_of(self._plan, value, at_ms):
            name, start = self._event.contract.name, window.start_ms
            read = await self._state.read(name, partition, window.table, window.size_ms, start, start + 1)
            rows = read.windows.get(start)
            other = window._replace(label=(OTHER,) * len(window.by))
            yield other if rows is not None and window.key not in rows and other.key in rows else window

    async def _visible(self, partition: int, position: int) -> tuple[int | None, int | None]:
        """(since, None) by the commit that brought it, or (None, before) where the feed was trimmed since."""
        name = self._event.contract.name
        last = (await self._state.head(name, partition)).feed
        after = f"{position}-{2**64 - 1}"
        entries = await self._state.feed_range(name, partition, after, last) if last else []
        if not entries or not entries[0].at:
            return None, None
        first = entries[0]
        before = int(first.prev.partition("-")[0] or 0)
        return (first.at, None) if before <= position else (None, first.at)

    async def search(self, event_id: str, since_ms: int) -> tuple[list[tuple[int, int]], list[Searched]]:
        """(partition, raw offset) of every judged record with this id, the newest log minutes back to `since_ms`."""
        found = await asyncio.gather(*(self._search(p, event_id, since_ms) for p in range(self._domain.partitions)))
        places = [(searched.partition, offset) for offsets, searched in found for offset in offsets]
        return places[:_MAX_FOUND], [searched for _, searched in found]

    async def _search(self, partition: int, event_id: str, since_ms: int) -> tuple[list[int], Searched]:
        contract = self._event.contract
        judged = TopicPartition(contract.judged_topic, partition)
        counted = await self._observer.counted(contract.name, partition)
        checkpoints = Checkpoints(counted.minutes, self._event.ttl_ms)
        start = checkpoints.since(since_ms - since_ms % MINUTE_MS) or Place(counted.position, counted.next)
        numeric = contract.fields[contract.id_field].type == "integer"
        may_be, offsets = may_hold([event_id], numeric=numeric), []
        records, first_ms, last_ms = 0, None, None
        async for record, stamp in self._past.accepted(judged, start):
            records, first_ms, last_ms = records + 1, first_ms or stamp.ts, stamp.ts
            if may_be(value := record.value or b"") and self._is(value, event_id):
                offsets.append(stamp.src)
        return offsets, Searched(partition, records, first_ms, last_ms)

    def _is(self, value: bytes, event_id: str) -> bool:
        try:
            return self._read(value).id == event_id
        except (msgspec.MsgspecError, UnicodeDecodeError, ArithmeticError):
            return False  # not valid, and its id cannot be read either
