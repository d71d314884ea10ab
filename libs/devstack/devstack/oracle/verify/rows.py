"""One partition as a stream of rows: its landing chain, walked and checked, beside Kafka's log, then the rest of it."""

import io
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from typing import Any, NamedTuple
from zlib import crc32

import pyarrow as pa
import pyarrow.parquet as pq
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from devstack.oracle.landed import Bucket
from devstack.oracle.verify.findings import Check

_OBJECT = re.compile(r"/(\d{20})\.parquet$")
_TAKE = 5_000
_MINUTE_MS = 60_000


class Row(NamedTuple):
    offset: int
    ts: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class Objects:
    """The landing objects of one bucket, by an aioboto3 client."""

    def __init__(self, s3: Any, bucket: Bucket) -> None:
        self._s3, self._bucket = s3, bucket

    async def keys(self, topic: str, partition: int) -> AsyncIterator[str]:
        """In order. A store that keeps objects in files lists unfinished uploads too, under other names."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket.name, Prefix=f"landing/{topic}/{partition}/"
        )
        async for page in pages:
            for item in page.get("Contents", []):
                if _OBJECT.search(item["Key"]):
                    yield item["Key"]

    async def get(self, key: str) -> bytes:
        return await self._bucket.get(self._s3, key)


class ChainWalk:
    """Rows of a chain, object by object; what is wrong with it goes to `check`."""

    def __init__(self, objects: Objects, topic: str, partition: int, end: int, check: Check) -> None:
        self._objects, self._topic, self._partition, self._end = objects, topic, partition, end
        self._check = check
        self._topic_id = ""
        self.next = 0
        """Where the chain goes on."""

    async def rows(self) -> AsyncIterator[list[Row]]:
        async for key in self._objects.keys(self._topic, self._partition):
            start = int(_OBJECT.search(key)[1])  # pyright: ignore[reportOptionalSubscript]
            if start >= self._end:
                return
            if start != self.next:
                what = f"the chain has {'a gap' if start > self.next else 'an overlap'} before {key}"
                self._check.misfit(min(start, self.next), what, self.next, start)
            try:
                footer, rows = read_object(await self._objects.get(key))
            except (pa.ArrowException, ValueError, KeyError, OSError) as error:
                self._check.misfit(
                    start, f"{key} cannot be read", "a landing object", f"{type(error).__name__}: {error}"
                )
                return  # where it ends is not known, so nothing after it can be placed
            self._compare(key, start, footer, rows)
            self._check.looked_at += len(rows)
            self.next = int(footer["next"])
            yield rows

    def _compare(self, key: str, start: int, footer: dict[str, Any], rows: list[Row]) -> None:
        for name, expected, found in footer_facts(self._topic, self._partition, start, footer, rows):
            if expected != found:
                self._check.misfit(start, f"{key}: its footer's {name} is not that of its rows", found, expected)
        if any(one.offset >= two.offset for one, two in pairwise(rows)):
            self._check.misfit(start, f"{key}: offsets do not rise", "rising offsets", [r.offset for r in rows[:5]])
        if self._topic_id and footer["topic_id"] != self._topic_id:
            self._check.misfit(start, f"{key} is of another topic", self._topic_id, footer["topic_id"])
        self._topic_id = footer["topic_id"]


def footer_facts(
    topic: str, partition: int, start: int, footer: dict[str, Any], rows: list[Row]
) -> Iterator[tuple[str, Any, Any]]:
    """(name, what the footer says, what is so)."""
    crc = 0
    for row in rows:
        crc = crc32(row.value or b"", crc)
    minutes = Counter(row.ts - row.ts % _MINUTE_MS for row in rows)
    last = rows[-1] if rows else Row(-1, 0, None, None, [])
    yield "topic", (footer["topic"], footer["partition"], footer["start"]), (topic, partition, start)
    yield "count", footer["count"], len(rows)
    yield "first and last", (footer["first"], footer["last"]), (rows[0].offset if rows else -1, last.offset)
    yield "minutes", {int(m): n for m, n in footer["minutes"].items()}, dict(minutes)
    yield "crc", footer["crc"], crc
    mark = footer["fp"]
    found = (last.offset, last.ts, crc32(last.value or b""))
    yield "fingerprint", (mark["offset"], mark["timestamp"], mark["crc"]), found
    yield "range", start <= footer["first"] <= footer["last"] < footer["next"], True


def read_object(body: bytes) -> tuple[dict[str, Any], list[Row]]:
    table = pq.ParquetFile(io.BytesIO(body), page_checksum_verification=True).read()
    footer = json.loads((table.schema.metadata or {})[b"dataforge"])
    plain = [table.column(name).to_pylist() for name in ("offset", "timestamp", "key", "value")]
    headers = ([(h["name"], h["value"]) for h in found or []] for found in table.column("headers").to_pylist())
    return footer, list(map(Row, *plain, headers))


class LogWalk:
    """Rows of a partition of Kafka's log, from its beginning up to `end`."""

    def __init__(self, bootstrap: str, topic: str, partition: int) -> None:
        self._bootstrap = bootstrap
        self._tp = TopicPartition(topic, partition)
        self.begin = self.end = 0

    async def __aenter__(self) -> "LogWalk":
        self._kafka = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, auto_offset_reset="none", enable_auto_commit=False,
            isolation_level="read_committed", max_partition_fetch_bytes=16 * 1024 * 1024, fetch_max_wait_ms=50,
        )  # fmt: skip
        await self._kafka.start()
        self._kafka.assign([self._tp])
        await self.look()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._kafka.stop()

    async def look(self) -> None:
        """Where it begins and ends now."""
        self.begin = (await self._kafka.beginning_offsets([self._tp]))[self._tp]
        self.end = (await self._kafka.end_offsets([self._tp]))[self._tp]

    async def rows(self, start: int, end: int) -> AsyncIterator[Row]:
        """What retention removes meanwhile is left out: `begin` then says from where on it is complete."""
        self._kafka.seek(self._tp, start)
        while await self._kafka.position(self._tp) < end:
            try:
                fetched = await self._kafka.getmany(timeout_ms=200, max_records=_TAKE)
            except OffsetOutOfRangeError:
                await self.look()
                self._kafka.seek(self._tp, self.begin)
                continue
            for record in fetched.get(self._tp, ()):
                if record.offset >= end:
                    return
                yield Row(record.offset, record.timestamp, record.key, record.value, list(record.headers))


async def whole(chain: ChainWalk, log: LogWalk, end: int, check: Check) -> AsyncIterator[Row]:
    """Every row below `end`: from the chain, each held against the log's where that still has it, then from the log."""
    start = log.begin
    logged = log.rows(start, end)
    ahead = await anext(logged, None)
    async for rows in chain.rows():
        for row in rows:
            if row.offset >= end:
                break
            while ahead is not None and ahead.offset < row.offset:
                check.misfit(ahead.offset, "in the log, and not landed", "a landed row", "none")
                ahead = await anext(logged, None)
            if row.offset >= max(start, log.begin):
                check.looked_at += 1
                if ahead is None or ahead.offset != row.offset:
                    check.misfit(row.offset, "landed, and not in the log", "a record", "none")
                elif ahead != row:
                    check.misfit(row.offset, "landed with other bytes than the log's", shown(ahead), shown(row))
            if ahead is not None and ahead.offset == row.offset:
                ahead = await anext(logged, None)
            yield row
    if log.begin > chain.next and end > chain.next:
        check.misfit(chain.next, "neither landed nor in the log any more", chain.next, log.begin)
    while ahead is not None:
        if ahead.offset < chain.next:
            check.misfit(ahead.offset, "in the log, and not landed", "a landed row", "none")
        check.looked_at += 1
        yield ahead
        ahead = await anext(logged, None)


def shown(row: Row) -> str:
    """A row for people: never its content."""
    value = row.value or b""
    return f"{len(value)} bytes, crc {crc32(value):08x}, ts {row.ts}, {len(row.headers)} headers"
