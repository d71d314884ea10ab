"""What Kafka holds, read by a plain consumer: nothing of ours between the log and the numbers."""

import struct
from collections.abc import Callable, Sequence
from typing import Any
from zlib import crc32

import pyarrow as pa
from aiokafka import AIOKafkaConsumer, ConsumerRecord

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
_TAKE = 50_000


async def read_raw(bootstrap: str, topic: str) -> pa.Table:
    """*Shape*: one row per record in the log, whatever it is; `crc` is crc32 of the value. *Units*: `ts` in ms."""

    def columns(partition: int, records: Sequence[ConsumerRecord[bytes, bytes]]) -> list[list[Any]]:
        values = [r.value or b"" for r in records]
        return [
            [partition] * len(records),
            [r.offset for r in records],
            [r.timestamp for r in records],
            [crc32(v) for v in values],
            [len(v) for v in values],
        ]

    return await _read(bootstrap, topic, RAW, columns)


async def read_judged(bootstrap: str, topic: str) -> pa.Table:
    """*Shape*: one row per raw record that has a verdict, after the acceptance fold of docs/specs/log.md."""
    following: dict[int, int] = {}

    def columns(partition: int, records: Sequence[ConsumerRecord[bytes, bytes]]) -> list[list[Any]]:
        rows: list[tuple[Any, ...]] = []
        for record in records:
            headers = dict(record.headers)
            tag, src, base, ts, _, crc, _ = _STAMP.unpack(headers["df"])
            if tag & 15 != _LAYOUT:
                raise ValueError(f"{topic}/{partition}/{record.offset}: stamp of layout {tag & 15}")
            if base <= following.get(partition, 0) <= src:
                following[partition] = src + 1
                stored = crc32(record.value or b"")
                # -1 never equals a raw crc: the copy differs from what its own stamp says it is
                rows.append((partition, src, ts, crc if crc == stored else -1, _VERDICTS[tag >> 4],
                             headers.get("reason", b"").decode()))  # fmt: skip
        return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in JUDGED]

    return await _read(bootstrap, topic, JUDGED, columns)


async def end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap) as consumer:
        return {tp.partition: end for tp, end in (await consumer.end_offsets(consumer.assignment())).items()}


async def _read(
    bootstrap: str,
    topic: str,
    schema: pa.Schema,
    columns: Callable[[int, Sequence[ConsumerRecord[bytes, bytes]]], list[list[Any]]],
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
                arrays = columns(tp.partition, records)
                batches.append(
                    pa.record_batch([pa.array(a, t.type) for a, t in zip(arrays, schema, strict=True)], schema)
                )
    return pa.Table.from_batches(batches, schema)
