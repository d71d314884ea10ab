"""Taking what was fetched brings what aiokafka's own loop brings, and leaves the position where it does."""

import struct
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from dataforge.stream.fetched import take

TP = TopicPartition("raw.shop.sale.v1", 0)
CODECS = {"none": 0, "gzip": 1, "lz4": 3, "zstd": 4}
_CONTROL = 0x20


def kafka_batch(
    base: int, records: int, *, codec: str = "none", producer: int = -1, aborts: bool | None = None, gap: int = 0
) -> bytes:
    """One of Kafka's batches. `producer`: of a transaction; `aborts`: it is the marker of its end; `gap`: so many of
    its last records were compacted away.
    """
    marker = aborts is not None
    builder = DefaultRecordBatchBuilder(2, CODECS[codec], int(producer >= 0), producer, 0, 0, 2**20)
    for number in range(records):
        key = struct.pack(">hh", 0, 0 if aborts else 1) if marker else b"%d" % number
        builder.append(number, 1_000 + number, key, b"value %d" % (base + number), [("df", b"x")])
    whole = bytearray(builder.build())
    whole[:8], whole[23:27] = struct.pack(">q", base), struct.pack(">i", records + gap - 1)
    if marker:
        whole[21:23] = struct.pack(">h", struct.unpack(">h", whole[21:23])[0] | _CONTROL)
    whole[17:21] = struct.pack(">I", calc_crc32c(bytes(whole[21:])))
    return bytes(whole)


class Fetched:
    """A fetcher that has fetched these bytes from a position on, and the consumer's position."""

    def __init__(self, data: bytes, position: int, isolation: int, aborted: list[tuple[int, int]]) -> None:
        self.position, self.paused = position, False
        records = PartitionRecords(TP, MemoryRecords(data), list(aborted), position, None, None, True, isolation)
        assignment: Any = SimpleNamespace(active=True, state_value=lambda _: self)
        self.result = FetchResult(TP, assignment=assignment, partition_records=records, backoff=0)
        self._records, self._wait_consume_future = {TP: self.result}, None

    def consumed_to(self, position: int) -> None:
        self.position = position

    def _notify(self, _: object) -> None: ...

    def take(self, limit: int) -> list[Any]:
        return take(self, {TP}, limit).get(TP, [])


def plain(records: list[Any]) -> list[tuple[Any, ...]]:
    return [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in records]


batches = st.lists(
    st.fixed_dictionaries(
        {
            "records": st.integers(1, 6),
            "codec": st.sampled_from(sorted(CODECS)),
            "producer": st.sampled_from([-1, -1, 7, 8]),
            "gap": st.integers(0, 2),
            "hole": st.integers(0, 3),
            "ends": st.sampled_from([None, None, True, False]),
        }
    ),
    min_size=1,
    max_size=6,
)


@given(batches, st.integers(0, 8), st.integers(1, 9), st.sampled_from([READ_COMMITTED, READ_UNCOMMITTED]))
def test_what_is_taken_is_what_aiokafka_brings(
    drawn: list[dict[str, Any]], begin: int, limit: int, isolation: int
) -> None:
    data, at, aborted = b"", 0, list[tuple[int, int]]()
    begun: dict[int, int] = {}
    for batch in drawn:
        at += batch["hole"]
        data += kafka_batch(at, batch["records"], codec=batch["codec"], producer=batch["producer"], gap=batch["gap"])
        producer = batch["producer"]
        begun.setdefault(producer, at)
        at += batch["records"] + batch["gap"]
        if producer >= 0 and batch["ends"] is not None:
            data += kafka_batch(at, 1, producer=producer, aborts=batch["ends"])
            at += 1
            first = begun.pop(producer)
            if batch["ends"]:
                aborted.append((producer, first))
    ours, theirs = (Fetched(data, begin, isolation, aborted) for _ in range(2))
    while theirs.result.has_more():
        assert plain(ours.take(limit)) == plain(theirs.result.getall(limit))
        assert ours.position == theirs.position
    assert ours.take(limit) == []
    assert ours.position == theirs.position


def test_a_damaged_batch_is_an_error_and_moves_nothing() -> None:
    whole = kafka_batch(0, 3) + kafka_batch(3, 3)
    fetched = Fetched(whole[:-1] + b"?", 0, READ_COMMITTED, [])
    assert [r.offset for r in fetched.take(2)] == [0, 1]
    with pytest.raises(CorruptRecordException, match="its checksum is another"):
        fetched.take(100)
    assert fetched.take(100) == []
    assert fetched.position == 2


def test_nothing_is_taken_of_what_was_fetched_for_another_position() -> None:
    fetched = Fetched(kafka_batch(0, 3), 0, READ_COMMITTED, [])
    fetched.position = 40  # a seek came in between
    assert fetched.take(100) == []
    assert fetched.position == 40
