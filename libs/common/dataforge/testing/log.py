"""An in-memory log with the promises of Kafka that the platform relies on, and the faults it survives."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import attrgetter
from typing import Literal

from dataforge.errors import Fatal
from dataforge.stream.origin import Bounds
from dataforge.stream.records import LogRecord, Record, RecordBatch, TopicPartition

Produced = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]
Fate = Literal["ok", "lost", "unacknowledged"]

_offset = attrgetter("offset")


@dataclass(slots=True)
class _Partition:
    records: list[LogRecord] = field(default_factory=list)
    """All there ever were, in order of offsets; those below `begin` are beyond retention."""
    begin: int = 0
    end: int = 0


class MemoryLog:
    """Partitions as lists of records. Appending stamps the log's own time, as LogAppendTime does."""

    def __init__(self, now_ms: Callable[[], int] = lambda: 0) -> None:
        self._now_ms = now_ms
        self._partitions: defaultdict[TopicPartition, _Partition] = defaultdict(_Partition)
        self._lives: defaultdict[str, int] = defaultdict(int)
        self.fates: list[Fate] = []
        """What happens to the next sends, first to last; empty means `ok`."""

    # ---- what happens to it
    def append(
        self, tp: TopicPartition, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> int:
        p = self._partitions[tp]
        p.records.append(LogRecord(p.end, self._now_ms(), key, value, headers))
        p.end += 1
        return p.end - 1

    def skip(self, tp: TopicPartition, count: int) -> None:
        """Use up offsets that hold no record, as transaction markers do."""
        self._partitions[tp].end += count

    def truncate(self, tp: TopicPartition, below: int) -> None:
        """Retention: the offsets below are gone."""
        p = self._partitions[tp]
        p.begin = max(p.begin, min(below, p.end))

    def recreate(self, topic: str) -> None:
        """Delete the topic and create it again: empty partitions, another id."""
        for tp in [tp for tp in self._partitions if tp.topic == topic]:
            del self._partitions[tp]
        self._lives[topic] += 1

    # ---- what it says
    def begin(self, tp: TopicPartition) -> int:
        """The first offset that retention has left."""
        return self._partitions[tp].begin

    def end(self, tp: TopicPartition) -> int:
        """The offset the next record gets."""
        return self._partitions[tp].end

    def id_of(self, topic: str) -> bytes:
        """16 bytes: another id is another log."""
        return blake2b(f"{topic}/{self._lives[topic]}".encode(), digest_size=16).digest()

    async def bounds(self, tp: TopicPartition) -> Bounds:
        return Bounds(self.id_of(tp.topic), self.begin(tp), self.end(tp))

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, bytes]:
        return {topic: self.id_of(topic) for topic in topics}

    async def record_at(self, tp: TopicPartition, offset: int) -> Record | None:
        return next((r for r in self.records(tp, offset, 1) if r.offset == offset), None)

    def records(self, tp: TopicPartition, start: int = 0, count: int | None = None) -> list[LogRecord]:
        """What it holds from `start` on."""
        p = self._partitions[tp]
        at = bisect_left(p.records, max(start, p.begin), key=_offset)
        return p.records[at : None if count is None else at + count]

    def history(self, tp: TopicPartition) -> list[LogRecord]:
        """All it ever held, beyond retention too: for oracles, no reader of a log can see this."""
        return self._partitions[tp].records

    def fetch(self, tp: TopicPartition, start: int, count: int) -> RecordBatch:
        """The next records from `start` on, none at its end. *Raises* `Fatal` where `start` is outside of the log."""
        p = self._partitions[tp]
        if not p.begin <= start <= p.end:
            raise Fatal(f"offset {start} of {tp.topic}/{tp.partition} is outside of its log, {p.begin} to {p.end}")
        records = self.records(tp, start, count)
        last = not records or records[-1] is p.records[-1]
        return RecordBatch(*tp, start, p.end if last else records[-1].offset + 1, records)

    def batches(self, tp: TopicPartition, start: int, size: int) -> Iterable[RecordBatch]:
        """What is there from `start` on, in batches of `size`."""
        while start < self.end(tp):
            batch = self.fetch(tp, start, size)
            yield batch
            start = batch.next

    async def read_from(self, tp: TopicPartition, offset: int) -> AsyncGenerator[Sequence[Record], None]:
        yield self.fetch(tp, offset, self.end(tp)).records

    async def last_record(self, tp: TopicPartition) -> Record | None:
        records = self.records(tp)
        return records[-1] if records else None

    # ---- what is written to it
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
