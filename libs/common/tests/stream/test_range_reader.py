"""A range of a log, read through a consumer that brings it in pieces, brings nothing, or fails."""

from typing import Any

import pytest
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from dataforge.errors import Fatal, Transient
from dataforge.stream.range_reader import RangeReader
from dataforge.stream.records import LogRecord, TopicPartition

TP = TopicPartition("raw.a", 0)


class Consumer:
    """Holds the records at these offsets; each `getmany` brings two, and moves on over the gaps behind them."""

    def __init__(self, offsets: list[int], end: int, answers: list[Exception | None]) -> None:
        self._offsets, self._end, self._answers = offsets, end, answers
        self._at = -1
        self.paused = False

    def assign(self, partitions: Any) -> None: ...

    def seek(self, partition: Any, offset: int) -> None:
        self._at = offset

    def pause(self, partition: Any) -> None:
        self.paused = True

    async def position(self, partition: Any) -> int:
        return self._at

    async def getmany(self, partition: Any, **_: Any) -> dict[Any, list[LogRecord]]:
        if self._answers and (answer := self._answers.pop(0)) is not None:
            raise answer
        due = [offset for offset in self._offsets if offset >= self._at]
        self._at = due[2] if len(due) > 2 else self._end
        return {partition: [LogRecord(offset, 1, None, b"", []) for offset in due[:2]]}


async def read(consumer: Any, start: int, end: int) -> list[int]:
    reader = RangeReader("nowhere:9092")
    reader._consumer = consumer
    return [record.offset async for records in reader.read(TP, start, end) for record in records]


async def test_it_ends_where_a_sparse_log_does() -> None:
    assert await read(Consumer([1, 3, 4, 8], 12, []), 1, 12) == [1, 3, 4, 8]
    consumer = Consumer([1, 3, 4, 8], 12, [])
    assert await read(consumer, 2, 4) == [3]
    assert consumer.paused, "nothing is fetched that nobody asked for"


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OffsetOutOfRangeError({}), Fatal),
        (KafkaError("the broker went away"), Transient),
        (RuntimeError("the handler is closed"), Transient),
    ],
)
async def test_what_a_consumer_raises_is_named_by_what_to_do(error: Exception, raised: type[Exception]) -> None:
    with pytest.raises(raised):
        await read(Consumer([1, 2, 3, 4], 5, [None, error]), 1, 5)


async def test_a_consumer_that_brings_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(Consumer):
        async def getmany(self, partition: Any, **_: Any) -> dict[Any, list[LogRecord]]:
            return {}

    monkeypatch.setattr("dataforge.stream.range_reader._STANDSTILL_S", -1)
    with pytest.raises(Transient, match="brings nothing"):
        await read(Stuck([1], 2, []), 1, 2)
    assert await read(Consumer([1, 3, 4, 8], 12, []), 1, 12) == [1, 3, 4, 8]
