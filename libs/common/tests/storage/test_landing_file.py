"""A landing object gives back what was put in, and says whether it does."""

import io
import os
from zlib import crc32

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge.errors import Fatal
from dataforge.storage.landing_file import TAIL_BYTES, decode, describe, encode, footer_of, problem_with
from dataforge.stream.origin import Mark
from dataforge.stream.records import LogRecord
from dataforge.testing.landed import PARTITION, TOPIC, TOPIC_ID, footer, logs

RECORDS = [
    LogRecord(5, 60_001, b"k", b"value", [("df", b"\x00\xff"), ("df", b"")]),
    LogRecord(9, 120_500, None, None, ()),
    LogRecord(10, 120_600, b"", b"", [("", b"x")]),
]


def plain(records: list[LogRecord]) -> list[LogRecord]:
    return [r._replace(headers=list(r.headers)) for r in records]


@given(logs(), st.integers(0, 1000), st.integers(0, 1000))
def test_decode_gives_what_was_encoded(records: list[LogRecord], before: int, after: int) -> None:
    said = footer(records, max(0, records[0].offset - before), records[-1].offset + 1 + after)
    data = encode(records, said)
    found, back = decode(data)
    assert (found, back) == (said, plain(records))
    assert encode(records, said) == data
    assert problem_with(found, back) is None


@given(logs(max_size=5), st.integers(0, 1 << 62))
def test_the_tail_alone_tells_the_footer(records: list[LogRecord], accepted_next: int) -> None:
    mark = Mark(accepted_next, 1, 2)
    said = msgspec.structs.replace(footer(records, 0, 1 << 62), accepted_next=accepted_next, last_src=mark)
    data = encode(records, said)
    assert footer_of(data[-TAIL_BYTES:]) == said
    needed = footer_of(data[-8:])
    assert isinstance(needed, int)
    assert needed <= len(data)
    assert footer_of(data[-needed:]) == said
    assert footer_of(data[-needed + 1 :]) == needed


def test_the_object_is_as_the_spec_says() -> None:
    data = encode(
        RECORDS, describe(RECORDS, topic=TOPIC, partition=PARTITION, topic_id=TOPIC_ID, start=4, following=12)
    )
    file = pq.ParquetFile(io.BytesIO(data))
    assert file.schema_arrow.names == ["topic", "partition", "offset", "timestamp", "key", "value", "headers"]
    assert {file.metadata.row_group(0).column(n).compression for n in range(8)} == {"ZSTD"}
    rows = file.read().to_pylist()
    assert rows[0] == {
        "topic": TOPIC, "partition": 3, "offset": 5, "timestamp": 60_001, "key": b"k", "value": b"value",
        "headers": [{"name": "df", "value": b"\x00\xff"}, {"name": "df", "value": b""}],
    }  # fmt: skip
    assert (rows[1]["key"], rows[1]["value"], rows[2]["key"], rows[2]["value"]) == (None, None, b"", b"")
    said = msgspec.json.decode(file.metadata.metadata[b"dataforge"])
    assert said == {
        "layout": 1, "topic": TOPIC, "partition": 3, "topic_id": TOPIC_ID, "start": 4, "first": 5, "last": 10,
        "next": 12, "count": 3, "minutes": {"60000": 1, "120000": 2}, "crc": crc32(b"value"),
        "fp": {"offset": 10, "timestamp": 120_600, "crc": 0}, "accepted_next": None, "last_src": None,
    }  # fmt: skip


@given(logs(max_size=10), st.data())
def test_other_records_than_the_footers_are_noticed(records: list[LogRecord], data: st.DataObject) -> None:
    said = footer(records, 0, records[-1].offset + 1)
    n = data.draw(st.integers(0, len(records) - 1))
    changed = records[n]._replace(value=(records[n].value or b"") + b"!")
    assert problem_with(said, [*records[:n], changed, *records[n + 1 :]]) is not None
    assert problem_with(said, [*records[:n], *records[n + 1 :]]) is not None
    moved = records[-1]._replace(offset=records[-1].offset + 1)
    assert problem_with(said, [*records[:-1], moved]) is not None


def test_damage_at_any_place_is_fatal_or_noticed_or_harmless() -> None:
    records = [LogRecord(n, n, b"%d" % n, b"v%d" % n * 5, [("h", b"%d" % n)]) for n in range(50)]
    data = encode(records, footer(records, 0, 50))
    fatal = 0
    for at in range(len(data)):
        for flip in (0x01, 0x80):
            damaged = data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
            try:
                said, back = decode(damaged)
            except Fatal:
                fatal += 1
                continue
            assert back == records or problem_with(said, back) is not None, (at, flip)
    assert fatal > len(data), "the damage is found by reading, nearly everywhere"


@pytest.mark.parametrize("data", [b"", b"PAR1", os.urandom(5000), b"\xff" * 100 + b"PAR1", b"\x08\x00\x00\x00PAR1" * 4])
def test_what_is_no_landing_object_is_fatal(data: bytes) -> None:
    with pytest.raises(Fatal):
        decode(data)
    try:
        found = footer_of(data)
    except Fatal:
        return
    assert isinstance(found, int), "no footer is in there; more bytes may be asked for"
    assert found > len(data)


def test_a_parquet_file_of_somebody_else_is_fatal() -> None:
    table = pq.ParquetFile(io.BytesIO(encode(RECORDS, footer(RECORDS, 0, 11)))).read().replace_schema_metadata(None)
    out = io.BytesIO()
    pq.write_table(table, out)
    with pytest.raises(Fatal, match="without a landing footer"):
        decode(out.getvalue())
    with pytest.raises(Fatal, match="without a landing footer"):
        footer_of(out.getvalue())


def test_a_later_layout_is_fatal_and_says_what_to_do() -> None:
    later = msgspec.structs.replace(footer(RECORDS, 0, 11), layout=2)
    with pytest.raises(Fatal, match="update the service"):
        decode(encode(RECORDS, later))
