"""A topic from its first record on, read as it is written: what retention takes later is known all the same."""

from collections.abc import Mapping

import pyarrow as pa
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from devstack.oracle.log import Columns, batch_of

_FETCH_BYTES = 16 * 1024 * 1024
_WAIT_MS = 250
"""Kafka answers only so often, with all that has come: a witness must not be most of what it watches."""


class LostSight(Exception):
    """The log no longer holds what was to be read next: nothing can be said about the run."""


class Tape:
    """What is `kept` of each record is one table or more.

    *Guarantees*: they hold every record below `next`, or `run` has ended with an error.
    """

    def __init__(self, bootstrap: str, topic: str, *kept: tuple[pa.Schema, Columns]) -> None:
        self.topic = topic
        self.next: dict[int, int] = {}
        """Partition -> offset up to which it is read."""
        self._bootstrap, self._kept = bootstrap, kept
        self._batches: list[list[pa.RecordBatch]] = [[] for _ in kept]
        self._consumer: AIOKafkaConsumer | None = None

    async def run(self) -> None:
        """Read until cancelled, through restarts of the broker. *Raises* `LostSight`."""
        async with AIOKafkaConsumer(
            self.topic,
            bootstrap_servers=self._bootstrap,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=_FETCH_BYTES,
            fetch_max_wait_ms=_WAIT_MS,
            fetch_min_bytes=_FETCH_BYTES,
            retry_backoff_ms=100,
        ) as consumer:
            for tp in consumer.assignment():
                self.next[tp.partition] = 0
                consumer.seek(tp, 0)
            self._consumer = consumer
            while True:
                for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                    first, last = records[0].offset, records[-1].offset
                    if first != self.next[tp.partition] or last - first + 1 != len(records):
                        raise LostSight(
                            f"{self.topic}/{tp.partition} goes on at {first}, not {self.next[tp.partition]}"
                        )
                    for batches, (schema, columns) in zip(self._batches, self._kept, strict=True):
                        batches.append(batch_of(schema, columns(tp.partition, records)))
                    self.next[tp.partition] = last + 1

    async def ends(self) -> dict[int, int]:
        """Where the log ends now. *Raises* KafkaError where the broker does not answer."""
        if self._consumer is None:
            raise KafkaError(f"{self.topic} is not read yet")
        partitions = [TopicPartition(self.topic, p) for p in self.next]
        return {tp.partition: end for tp, end in (await self._consumer.end_offsets(partitions)).items()}

    def holds(self, ends: Mapping[int, int]) -> bool:
        """Whether everything before `ends` is read."""
        return all(self.next.get(p, 0) >= end for p, end in ends.items())

    def tables(self) -> list[pa.Table]:
        """One for each that is kept."""
        return [
            pa.Table.from_batches(batches, schema=schema)
            for batches, (schema, _) in zip(self._batches, self._kept, strict=True)
        ]
