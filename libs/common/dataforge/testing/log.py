"""An in-memory log with the promises of Kafka that the platform relies on, and the faults it survives."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Literal

from dataforge.errors import Fatal
from dataforge.stream.records import LogRecord, Record, RecordBatch, TopicPartition

Produced = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]
Fate = Literal["ok", "lost", "unacknowledged"]


class MemoryLog:
    """Partitions as lists of records. Appending stamps the log's own time, as LogAppendTime does."""

    def __init__(self, now_ms: Callable[[], int] = lambda: 0) -> None:
        self._now_ms = now_ms
        self._records: defaultdict[TopicPartition, list[LogRecord]] = defaultdict(list)
        self.fates: list[Fate] = []
        """What happens to the next sends, first to last; empty means `ok`."""

    def append(
        self, tp: TopicPartition, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> int:
        records = self._records[tp]
        records.append(LogRecord(len(records), self._now_ms(), key, value, headers))
        return len(records) - 1

    def records(self, tp: TopicPartition) -> list[LogRecord]:
        return self._records[tp]

    def batches(self, tp: TopicPartition, start: int, size: int) -> Iterable[RecordBatch]:
        """What is there from `start` on, in batches of `size`."""
        records = self._records[tp]
        for at in range(start, len(records), size):
            stop = min(at + size, len(records))
            yield RecordBatch(*tp, at, stop, records[at:stop])

    async def send(self, topic: str, partition: int, records: Iterable[Produced]) -> int | None:
        """A sink. *Raises* `Fatal` where the send is lost, or done but not acknowledged."""
        fate = self.fates.pop(0) if self.fates else "ok"
        last = None
        if fate != "lost":
            for key, value, headers in records:
                last = self.append(TopicPartition(topic, partition), key, value, headers)
        if fate != "ok":
            raise Fatal(f"send to {topic}/{partition}: {fate}")
        return last

    async def read_from(self, tp: TopicPartition, offset: int) -> AsyncIterator[Sequence[Record]]:
        yield self._records[tp][offset:]

    async def last_record(self, tp: TopicPartition) -> Record | None:
        return self._records[tp][-1] if self._records[tp] else None
