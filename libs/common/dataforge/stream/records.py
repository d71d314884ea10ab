"""What a worker is handed: one batch per partition and poll, never single records."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

RAW_MAX_BYTES = 8 * 1024 * 1024
JUDGED_MAX_BYTES = RAW_MAX_BYTES + 64 * 1024
"""A judged record is its raw record and the stamp, so it must fit wherever the raw one did."""


class Record(Protocol):
    """One Kafka record as the consumer returns it; aiokafka's `ConsumerRecord` fits without a copy."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """Log append time, milliseconds since the epoch."""
        ...

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class LogRecord(NamedTuple):
    """A plain `Record`, for the in-memory log, for chains read back from the lake, and for tests."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class TopicPartition(NamedTuple):
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Consecutive records of one partition.

    *Guarantees*: `start` is where the previous take ended, or the seek target; `next` is where the
    next take begins. Both may lie beyond the records' own offsets, because a log may be sparse.
    """

    topic: str
    partition: int
    start: int
    next: int
    records: Sequence[Record]

    @property
    def tp(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)

    def __len__(self) -> int:
        return len(self.records)
