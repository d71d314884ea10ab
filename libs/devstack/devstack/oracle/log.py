"""What Kafka holds, read by a plain consumer: nothing of ours between the log and the numbers."""

import struct
from collections.abc import Callable, Sequence
from typing import Any
from zlib import crc32

import pyarrow as pa
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from devstack.oracle.rest import rest_of

_STAMP = struct.Struct(">BqqqII16s")
_LAYOUT = 1
_VERDICTS = ("valid", "quarantined", "undecodable")

RAW = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("ts", pa.int64()),
        ("crc", pa.int64()),
        ("bytes", pa.int64()),
        ("rest", pa.int64()),
    ]
)
JUDGED = pa.schema(
    [
        ("partition", pa.int32()),
        ("src", pa.int64()),
        ("ts", pa.int64()),
        ("crc", pa.int64()),
        ("verdict", pa.string()),
        ("reason", pa.string()),
    ]
)
QUARANTINED = pa.schema([("partition", pa.int32()), ("src", pa.int64()), ("crc", pa.int64())])
_TAKE = 50_000


Columns = Callable[[int, Sequence[ConsumerRecord[bytes, bytes]]], list[list[Any]]]
"""(partition, its next records) -> the columns of a schema."""


def raw_columns(partition: int, records: Sequence[ConsumerRecord[bytes, bytes]]) -> list[list[Any]]:
    """`RAW` of any topic; `crc` is crc32 of the value, `rest` of all beside it."""
    values = [r.value or b"" for r in records]
    return [
        [partition] * len(records),
        [r.offset for r in records],
        [r.timestamp for r in records],
        [crc32(v) for v in values],
        [len(v) for v in values],
        [rest_of(r.key, r.value, r.headers) for r in records],
    ]


class Accepted:
    """`JUDGED` of a judged topic read from its beginning, by the acceptance fold of docs/specs/log.md."""

    def __init__(self) -> None:
        self.next: dict[int, int] = {}
        """Per partition the raw offset before which every record has its verdict."""
        self.rejected: dict[int, list[int]] = {}
        """Per partition the raw offsets of the records that are not valid."""

    def __call__(self, partition: int, records: Sequence[ConsumerRecord[bytes, bytes]]) -> list[list[Any]]:
        rows: list[tuple[Any, ...]] = []
        for record in records:
            headers = dict(record.headers)
            tag, src, base, ts, _, crc, _ = _STAMP.unpack(headers["df"])
            if tag & 15 != _LAYOUT:
                raise ValueError(f"judged/{partition}/{record.offset}: stamp of layout {tag & 15}")
            if base <= self.next.get(partition, 0) <= src:
                self.next[partition] = src + 1
                if tag >> 4:
                    self.rejected.setdefault(partition, []).append(src)
                stored = crc32(record.value or b"")
                # -1 never equals a raw crc: the copy differs from what its own stamp says it is
                rows.append((partition, src, ts, crc if crc == stored else -1, _VERDICTS[tag >> 4],
                             headers.get("reason", b"").decode()))  # fmt: skip
        return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in JUDGED]


class Copies:
    """`QUARANTINED` of a quarantine topic: which raw record each copy is of, by its key."""

    def __init__(self) -> None:
        self.newest: dict[int, int] = {}
        """Per partition the largest raw offset that has a copy."""

    def __call__(self, partition: int, records: Sequence[ConsumerRecord[bytes, bytes]]) -> list[list[Any]]:
        copies = [r for r in records if r.key]  # the others only mark how far the writer was
        srcs = [int((r.key or b"").decode().rpartition("/")[2]) for r in copies]
        self.newest[partition] = max([self.newest.get(partition, -1), *srcs])
        return [[partition] * len(copies), srcs, [crc32(r.value or b"") for r in copies]]


def batch_of(schema: pa.Schema, columns: list[list[Any]]) -> pa.RecordBatch:
    return pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema)


async def read_raw(bootstrap: str, topic: str) -> pa.Table:
    """*Shape*: one row per record in the log, whatever it is; `crc` is crc32 of the value. *Units*: `ts` in ms."""
    return await _read(bootstrap, topic, RAW, raw_columns)


async def read_judged(bootstrap: str, topic: str) -> pa.Table:
    """*Shape*: one row per raw record that has a verdict, after the acceptance fold of docs/specs/log.md."""
    return await _read(bootstrap, topic, JUDGED, Accepted())


async def end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap) as consumer:
        return {tp.partition: end for tp, end in (await consumer.end_offsets(consumer.assignment())).items()}


async def _read(
    bootstrap: str,
    topic: str,
    schema: pa.Schema,
    columns: Columns,
) -> pa.Table:
    batches: list[pa.RecordBatch] = []
    # Without a group a consumer is given every partition.
    async with AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=16 * 1024 * 1024,
        fetch_max_wait_ms=50,
    ) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for tp, records in (await consumer.getmany(timeout_ms=200, max_records=_TAKE)).items():
                batches.append(batch_of(schema, columns(tp.partition, records)))
    return pa.Table.from_batches(batches, schema)
