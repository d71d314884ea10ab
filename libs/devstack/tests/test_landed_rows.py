"""A consumer of Kafka and a reader of landing objects say the same of the same record."""

import pytest
from aiokafka import ConsumerRecord

from dataforge.storage.landing_file import describe, encode
from dataforge.stream.records import LogRecord

from devstack.oracle.landed import LANDED, _rows
from devstack.oracle.log import RAW, batch_of, raw_columns
from devstack.oracle.rest import rest_of

TOPIC, PARTITION = "raw.shop.sale.v1", 3
RECORDS = [
    LogRecord(7, 1_700_000_000_123, b"k", b'{"a": 1}', []),
    LogRecord(8, 1_700_000_000_124, None, b"", [("traceparent", b"\x00\xff"), ("df", b"")]),
    LogRecord(11, 1_700_000_000_125, b"", None, [("df", b"1"), ("df", b"2")]),
]


def consumed(record: LogRecord) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord(
        TOPIC, PARTITION, record.offset, record.timestamp, 1, record.key, record.value, None, 0, 0,
        tuple(record.headers),
    )  # fmt: skip


def test_both_readers_agree() -> None:
    footer = describe(RECORDS, topic=TOPIC, partition=PARTITION, topic_id="", start=7, following=12)
    landed = _rows(encode(RECORDS, footer))
    log = batch_of(RAW, raw_columns(PARTITION, [consumed(record) for record in RECORDS]))
    assert landed.to_pylist() == [{name: row[name] for name in LANDED.names} for row in log.to_pylist()]


@pytest.mark.parametrize(
    "other",
    [(b"", b"v", []), (b"k", None, []), (b"k", b"v", [("a", b"")]), (b"k", b"v", [("a", b"1"), ("b", b"2")][::-1])],
)
def test_key_tombstone_and_headers_make_a_difference(other: tuple) -> None:
    assert rest_of(*other) not in (rest_of(b"k", b"v", []), rest_of(b"k", b"v", [("a", b"1"), ("b", b"2")]))
