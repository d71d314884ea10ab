"""What quality-worker reads of the log beside its batches: tails to fold, last records, topic ids."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from dataforge.errors import Fatal
from dataforge.stream.records import Record, TopicPartition
from dataforge.stream.topics import NO_ID, RangeReader, topic_ids


class Log(Protocol):
    def id_of(self, topic: str) -> bytes:
        """Kafka's id of the topic, 16 bytes; zeros where the log has none."""
        ...

    def read_from(self, tp: TopicPartition, offset: int) -> AsyncIterator[Sequence[Record]]:
        """Its records from `offset` to the end it has now.

        *Raises* `Fatal` where the log no longer, or not yet, holds `offset`: going on would judge twice.
        """
        ...

    async def last_record(self, tp: TopicPartition) -> Record | None:
        """None where the log holds none."""
        ...


class LogTail:
    """Kafka. Reads outside of the consumer group, each call with a reader of its own: partitions open side by side."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._ids: dict[str, bytes] = {}

    async def learn_ids(self, topics: Sequence[str]) -> None:
        self._ids = await topic_ids(self._bootstrap, topics)

    def id_of(self, topic: str) -> bytes:
        return self._ids.get(topic, NO_ID)

    async def read_from(self, tp: TopicPartition, offset: int) -> AsyncIterator[Sequence[Record]]:
        async with RangeReader(self._bootstrap) as reader:
            end = (await reader.end_offsets([tp]))[tp]
            begin = (await reader.begin_offsets([tp]))[tp]
            if not begin <= offset <= end:
                raise Fatal(
                    f"{tp.topic}/{tp.partition} holds offsets {begin} to {end}, and must be read from {offset}: it "
                    "was replaced, or retention overtook landing; restore the topic, or raise its retention"
                )
            async for records in reader.read(tp, offset, end):
                yield records

    async def last_record(self, tp: TopicPartition) -> Record | None:
        async with RangeReader(self._bootstrap) as reader:
            return await reader.last_record(tp)
