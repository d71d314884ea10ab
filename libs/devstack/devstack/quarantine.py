"""Reads quarantine topics: the newest first, one by its origin, and how much of what.

*Source*: docs/specs/log.md. Readers keep the first copy of a key; a record without a key is no copy but a place marker.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import msgspec

from dataforge.contracts.names import duration_ms
from dataforge.stream.judged import REASON, WARNINGS, Stamp, unpack
from dataforge.stream.range_reader import RangeReader
from dataforge.stream.records import Record, TopicPartition
from dataforge.stream.topics import topic_partitions

from devstack.errors import StackError, UsageError

CHUNK = 1_000
"""Records read at once, going back from the end of a partition."""
_AFTER = 10_000
"""A copy lies near its neighbours: so many records beyond its place are looked at."""


class Rejection(msgspec.Struct, frozen=True):
    """A quarantined or undecodable record, as its first copy tells it."""

    origin: str
    """`<raw topic>/<partition>/<offset>`"""
    at_ms: int
    """When the raw record was appended."""
    verdict: str
    reason: str
    detail: str
    warnings: tuple[str, ...]
    contract: str
    """Fingerprint of the contract that judged it, hex."""
    value: bytes | None


class Original(msgspec.Struct, frozen=True):
    """What only the raw topic knows."""

    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of them. Empty and None: whatever it is."""

    domain: str = ""
    event: str = ""
    """`<event>` or `<event>.v<N>`"""
    reason: str = ""
    since_ms: int = 0

    def topic(self, name: str) -> bool:
        """Whether a quarantine topic is asked for."""
        domain, _, rest = name.removeprefix("quarantine.").partition(".")
        event, _, version = rest.partition(".")
        return self.domain in ("", domain) and self.event in ("", event, f"{event}.{version}")

    def fits(self, found: Rejection) -> bool:
        return self.reason in ("", found.reason) and found.at_ms >= self.since_ms


class Bucket(msgspec.Struct):
    """A minute or an hour of one topic."""

    start_ms: int
    topic: str
    reasons: dict[str, int]


class TopicStats(msgspec.Struct):
    topic: str
    """The raw topic."""
    received: int
    """Raw records of the span that Kafka still holds."""
    rejected: int
    reasons: dict[str, int]

    @property
    def share(self) -> float:
        return self.rejected / self.received if self.received else 0.0


class Stats(msgspec.Struct):
    since_ms: int
    bucket_ms: int
    topics: list[TopicStats]
    buckets: list[Bucket]


def since_of(text: str, now_ms: int) -> int:
    """`30m`, `2h`, `1d` before now -> ms. *Raises* `UsageError`."""
    if (length := duration_ms(text)) is None:
        raise UsageError(f"--since {text!r} is no duration: a whole number and a unit, like 30m, 2h or 7d")
    return now_ms - length


def rejection_of(record: Record) -> Rejection | None:
    """None for a place marker. *Raises* `Fatal` where it is neither."""
    if record.key is None:
        return None
    headers = dict(record.headers)
    stamp = unpack(record.headers)
    return Rejection(
        origin=record.key.decode(),
        at_ms=stamp.ts,
        verdict=stamp.verdict.name.lower(),
        reason=headers.get(REASON, b"").decode(),
        detail=headers.get("detail", b"").decode("utf-8", "replace"),
        warnings=tuple(filter(None, headers.get(WARNINGS, b"").decode().split(","))),
        contract=f"{stamp.contract:08x}",
        value=record.value,
    )


async def newest(bootstrap: str, wanted: Wanted, limit: int, scan: int) -> tuple[list[Rejection], bool]:
    """The newest `limit` that fit, newest first; False where `scan` records of a partition were not enough to be sure.

    Reads backwards from the ends, and no more than that takes.
    """
    found: list[Rejection] = []
    sure = True
    partitions = await _asked_for(bootstrap, wanted)
    async with RangeReader(bootstrap) as reader:
        for tp in partitions:
            here: dict[str, Rejection] = {}
            scanned = 0
            async for records in _backwards(reader, tp, await _first(reader, tp, wanted.since_ms)):
                scanned += len(records)
                for record in reversed(records):  # an earlier copy takes a later one's place
                    rejection = rejection_of(record)
                    if rejection is not None and wanted.fits(rejection):
                        here[rejection.origin] = rejection
                if len(here) >= limit:
                    break
                if scanned >= scan:
                    sure = False
                    break
            found += here.values()
    found.sort(key=lambda rejection: (-rejection.at_ms, rejection.origin))
    return found[:limit], sure


async def one(bootstrap: str, origin: str) -> tuple[Rejection, Original | None]:
    """The record rejected at this origin; None where the raw topic no longer holds it.

    *Raises* `UsageError` where that is no origin, `StackError` where it is not in quarantine.
    """
    topic, partition, offset = parse_origin(origin)
    raw = TopicPartition(topic, partition)
    copies = TopicPartition(topic.replace("raw.", "quarantine.", 1), partition)
    if raw not in await topic_partitions(bootstrap, topic):
        raise UsageError(f"there is no partition {topic}/{partition}; `dataforge quarantine ls` shows origins")
    async with RangeReader(bootstrap) as reader:
        original = await _at(reader, raw, offset)
        start = (await reader.begin_offsets([copies]))[copies]
        if original is not None:  # a copy is never older than its original
            start = max(start, await reader.offset_at(copies, original.timestamp))
        found = await _copy_of(reader, copies, start, origin.encode(), offset)
    if found is None:
        raise StackError(
            f"{origin} is not in quarantine: it was valid, or is not judged yet, or is older than the topic's "
            f"retention; `dataforge where {origin}` tells"
        )
    return found, Original(original.key, tuple(original.headers)) if original else None


async def _at(reader: RangeReader, tp: TopicPartition, offset: int) -> Record | None:
    """None where the log does not hold it."""
    if not (await reader.begin_offsets([tp]))[tp] <= offset < (await reader.end_offsets([tp]))[tp]:
        return None
    async for records in reader.read(tp, offset, offset + 1):
        return records[0]
    return None


async def _copy_of(reader: RangeReader, tp: TopicPartition, start: int, key: bytes, src: int) -> Rejection | None:
    beyond = 0
    async for records in reader.read(tp, start, (await reader.end_offsets([tp]))[tp]):
        for record in records:
            if record.key == key:
                return rejection_of(record)
            beyond += record.key is not None and unpack(record.headers).src > src
        if beyond > _AFTER:
            break
    return None


async def stats(
    bootstrap: str, wanted: Wanted, bucket_ms: int, on_read: Callable[[int, int], None] = lambda done, total: None
) -> Stats:
    """Count what was rejected since `wanted.since_ms`; reads all of it. `on_read` hears (records read, of)."""
    topics: dict[str, TopicStats] = {}
    buckets: dict[tuple[int, str], Counter[str]] = {}
    partitions = await _asked_for(bootstrap, wanted)
    async with RangeReader(bootstrap) as reader:
        starts = {tp: await _first(reader, tp, wanted.since_ms) for tp in partitions}
        ends = await reader.end_offsets(partitions) if partitions else {}
        done, total = 0, sum(ends[tp] - starts[tp] for tp in partitions)
        for tp in partitions:
            raw = TopicPartition(tp.topic.replace("quarantine.", "raw.", 1), tp.partition)
            entry = topics.setdefault(raw.topic, TopicStats(raw.topic, 0, 0, {}))
            entry.received += (await reader.end_offsets([raw]))[raw] - await _first(reader, raw, wanted.since_ms)
            seen: set[bytes] = set()
            async for records in reader.read(tp, starts[tp], ends[tp]):
                done += len(records)
                on_read(done, total)
                for record in records:
                    if record.key is None or record.key in seen:
                        continue
                    seen.add(record.key)
                    stamp, reason = unpack(record.headers), dict(record.headers).get(REASON, b"").decode()
                    if stamp.ts >= wanted.since_ms and wanted.reason in ("", reason):
                        _count(entry, buckets, stamp, reason, bucket_ms)
    listed = [Bucket(start, topic, dict(counts)) for (start, topic), counts in sorted(buckets.items())]
    return Stats(wanted.since_ms, bucket_ms, list(topics.values()), listed)


def _count(
    entry: TopicStats, buckets: dict[tuple[int, str], Counter[str]], stamp: Stamp, reason: str, bucket_ms: int
) -> None:
    entry.rejected += 1
    entry.reasons[reason] = entry.reasons.get(reason, 0) + 1
    buckets.setdefault((stamp.ts - stamp.ts % bucket_ms, entry.topic), Counter())[reason] += 1


def parse_origin(origin: str) -> tuple[str, int, int]:
    """*Raises* `UsageError` where it is none."""
    topic, _, rest = origin.partition("/")
    partition, _, offset = rest.partition("/")
    if not topic.startswith("raw.") or not partition.isdecimal() or not offset.isdecimal():
        raise UsageError(f"{origin!r} is no origin: it looks like raw.shop.sale.v1/0/4711; `quarantine ls` shows them")
    return topic, int(partition), int(offset)


async def _asked_for(bootstrap: str, wanted: Wanted) -> Sequence[TopicPartition]:
    partitions = await topic_partitions(bootstrap, "quarantine.")
    found = [tp for tp in partitions if wanted.topic(tp.topic)]
    if not found:
        known = ", ".join(sorted({tp.topic.removeprefix("quarantine.") for tp in partitions})) or "none yet"
        raise UsageError(f"no event is called that; there is: {known}")
    return found


async def _first(reader: RangeReader, tp: TopicPartition, since_ms: int) -> int:
    """Where records of this time begin."""
    begin = (await reader.begin_offsets([tp]))[tp]
    return max(begin, await reader.offset_at(tp, since_ms)) if since_ms > 0 else begin


async def _backwards(reader: RangeReader, tp: TopicPartition, begin: int) -> AsyncIterator[list[Record]]:
    """All records from `begin` on, the last ones first, each list in order."""
    end = (await reader.end_offsets([tp]))[tp]
    while begin < end:
        start = max(begin, end - CHUNK)
        yield [record async for records in reader.read(tp, start, end) for record in records]
        end = start
