"""What landing-worker reads of the log beside its batches: topic ids, and the place where a chain ends."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from dataforge.stream.records import Record, TopicPartition
from dataforge.stream.topics import NO_ID, RangeReader, topic_ids

from landing_worker.land import Seen

_READERS = 4
"""Consumers that are open at the same time while partitions open."""


class Log(Protocol):
    def id_of(self, topic: str) -> bytes:
        """Kafka's id of the topic, 16 bytes; zeros where the log has none."""
        ...

    async def look(self, tp: TopicPartition, offset: int) -> Seen:
        """The log's bounds, and its record at this offset. *Raises* `Transient` where the log is away."""
        ...


class SourceLog:
    """Kafka."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._ids: dict[str, bytes] = {}
        self._slots = asyncio.Semaphore(_READERS)

    async def learn_ids(self, topics: Sequence[str]) -> None:
        """*Raises* `Fatal` where a topic does not exist."""
        self._ids = await topic_ids(self._bootstrap, topics)

    def id_of(self, topic: str) -> bytes:
        return self._ids.get(topic, NO_ID)

    async def look(self, tp: TopicPartition, offset: int) -> Seen:
        async with self._slots, RangeReader(self._bootstrap) as reader:
            begin = (await reader.begin_offsets([tp]))[tp]
            end = (await reader.end_offsets([tp]))[tp]
            record: Record | None = None
            if begin <= offset < end:
                async for records in reader.read(tp, offset, offset + 1):
                    record = records[-1]
            return Seen(begin, end, record)
