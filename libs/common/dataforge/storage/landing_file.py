"""One landing object: a run of records as Parquet, with a footer that says what it holds. Pure.

*Shape*: one row per record; `topic` string, `partition` int32, `offset` int64, `timestamp` int64 (ms), `key` and
`value` binary (nullable), `headers` list<struct<name: string, value: binary>>. *Source*: docs/specs/log.md.
"""

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import Any
from zlib import crc32

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from dataforge.errors import Fatal
from dataforge.stream.origin import Mark
from dataforge.stream.records import LogRecord, Record

FOOTER_KEY = b"dataforge"
LAYOUT = 1
MINUTE_MS = 60_000
TAIL_BYTES = 64 * 1024
"""Enough of an object's end for nearly every footer; a larger one says its size."""

_DAMAGED = (pa.ArrowException, OSError, ValueError, TypeError, KeyError)
"""What pyarrow raises, and what reading its columns raises, on bytes that are not such an object."""

HEADER = pa.struct([("name", pa.string()), ("value", pa.binary())])
SCHEMA = pa.schema(
    [
        pa.field("topic", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("timestamp", pa.int64(), nullable=False),
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("headers", pa.list_(HEADER)),
    ]
)


class Footer(msgspec.Struct, frozen=True):
    topic: str
    partition: int
    topic_id: str
    start: int
    """The previous object's `next`: where this object's claim on the log begins. It is in the key."""
    first: int
    last: int
    next: int
    """The consumer's position after this object."""
    count: int
    minutes: dict[int, int]
    """Minute of append time (ms) -> rows."""
    crc: int
    """Over all rows' values, in order."""
    fp: Mark
    layout: int = LAYOUT
    accepted_next: int | None = None
    """Judged topics: the acceptance fold after this object."""
    last_src: Mark | None = None
    """Judged topics: the last accepted raw record."""


def describe(
    records: Sequence[Record], *, topic: str, partition: int, topic_id: str, start: int, following: int,
    accepted_next: int | None = None, last_src: Mark | None = None,
) -> Footer:  # fmt: skip
    """The footer of a run of records (at least one)."""
    crc = crc32(b"".join([record.value or b"" for record in records]))
    minutes = _by_minute([record.timestamp for record in records])
    last = records[-1]
    return Footer(
        topic, partition, topic_id, start, records[0].offset, last.offset, following, len(records), minutes, crc,
        Mark.of(last), accepted_next=accepted_next, last_src=last_src,
    )  # fmt: skip


def _by_minute(times: Sequence[int]) -> dict[int, int]:
    """Minute (ms) -> how many of the times (ms) are in it, in the order of their first."""
    first = times[0] - times[0] % MINUTE_MS
    if min(times) >= first and max(times) < first + MINUTE_MS:
        return {first: len(times)}  # as nearly always
    return dict(Counter(at - at % MINUTE_MS for at in times))


def encode(records: Sequence[Record], footer: Footer) -> bytes:
    """The object. The same records and footer give the same bytes."""
    columns = [
        pa.array([footer.topic] * len(records), pa.string()),
        pa.array([footer.partition] * len(records), pa.int32()),
        pa.array([r.offset for r in records], pa.int64()),
        pa.array([r.timestamp for r in records], pa.int64()),
        pa.array([r.key for r in records], pa.binary()),
        pa.array([r.value for r in records], pa.binary()),
        _headers(records),
    ]
    schema = SCHEMA.with_metadata({FOOTER_KEY: msgspec.json.encode(footer)})
    sink = pa.BufferOutputStream()
    # Values are nearly all different: a dictionary would only cost. Topic and partition are one value each.
    options: dict[str, Any] = {
        "compression": "zstd",
        "write_page_checksum": True,
        "use_dictionary": ["topic", "partition"],
        "write_statistics": ["offset", "timestamp"],
    }
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), sink, **options)
    return sink.getvalue().to_pybytes()


def _headers(records: Sequence[Record]) -> pa.Array:
    """Made of flat columns: a list of dicts per record would cost more than all else together."""
    headers = [r.headers for r in records]
    ends = pa.array(accumulate(map(len, headers), initial=0), pa.int32())
    flat = list(chain.from_iterable(headers))
    names, values = pa.array([n for n, _ in flat], pa.string()), pa.array([v for _, v in flat], pa.binary())
    pairs = pa.StructArray.from_arrays([names, values], fields=list(HEADER))
    return pa.ListArray.from_arrays(ends, pairs, type=SCHEMA.field("headers").type)


def _read_headers(column: pa.ChunkedArray) -> Iterator[list[tuple[str, bytes]]]:
    for chunk in column.chunks:
        pairs = chunk.flatten()
        flat = list(zip(pairs.field("name").to_pylist(), pairs.field("value").to_pylist(), strict=True))
        lengths = chunk.value_lengths().to_pylist()
        yield from (flat[end - n : end] for n, end in zip(lengths, accumulate(lengths), strict=True))


def _types(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    """Names and types of the columns; of lists, that of their elements, which Parquet names anew."""
    return [(f.name, f.type.value_type if pa.types.is_list(f.type) else f.type) for f in schema]


def decode(data: bytes) -> tuple[Footer, list[LogRecord]]:
    """*Raises* `Fatal` where the bytes are no landing object."""
    try:
        table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
        if _types(table.schema) != _types(SCHEMA):
            raise ValueError(f"its columns are {_types(table.schema)}")
        plain = [table.column(name).to_pylist() for name in ("offset", "timestamp", "key", "value")]
        records = list(map(LogRecord, *plain, _read_headers(table.column("headers"))))
    except _DAMAGED as error:
        raise Fatal(f"not a landing object: {error}") from error
    return _footer(table.schema.metadata), records


def problem_with(footer: Footer, records: Sequence[Record]) -> str | None:
    """What the footer says of its records and is not so; None where all of it is."""
    if not records:
        return "it holds no record"
    found = describe(
        records,
        topic=footer.topic,
        partition=footer.partition,
        topic_id=footer.topic_id,
        start=footer.start,
        following=footer.next,
        accepted_next=footer.accepted_next,
        last_src=footer.last_src,
    )
    if found != footer:
        return f"its footer says {footer}, its records {found}"
    if not footer.start <= footer.first <= footer.last < footer.next:
        return f"offsets {footer.first} to {footer.last} are not within {footer.start} to {footer.next}"
    return None


def footer_of(tail: bytes) -> Footer | int:
    """The footer, read from the last bytes of an object; or how many bytes are needed to read it.

    *Raises* `Fatal` where they are not the end of a landing object.
    """
    if len(tail) < 8 or tail[-4:] != b"PAR1":
        raise Fatal("not a landing object: it does not end as a Parquet file does")
    needed = struct.unpack("<I", tail[-8:-4])[0] + 8
    if needed > len(tail):
        return needed
    try:
        # A Parquet file of nothing but its footer is enough for the metadata.
        schema = pq.read_schema(pa.BufferReader(b"PAR1" + tail[-needed:]))
    except _DAMAGED as error:
        raise Fatal(f"not a landing object: {error}") from error
    return _footer(schema.metadata)


def _footer(metadata: Any) -> Footer:
    found = (metadata or {}).get(FOOTER_KEY)
    if found is None:
        raise Fatal("a Parquet file without a landing footer: something else writes under landing/")
    try:
        footer = msgspec.json.decode(found, type=Footer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Fatal(f"a landing object whose footer cannot be read: {error}") from error
    if footer.layout != LAYOUT:
        raise Fatal(f"a landing object of layout {footer.layout}; this version reads {LAYOUT}: update the service")
    return footer
