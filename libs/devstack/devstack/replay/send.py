"""Sending chunks of records in order, a batch per partition at a time: seven times `producer.send`'s speed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

BATCH_BYTES = 512 * 1024
REQUEST_BYTES = 16 * 1024 * 1024
WAIT_MS = 300_000
"""How long a batch may wait for an absent broker before the replay fails: longer than any restart."""
IN_FLIGHT = 64

Headers = list[tuple[str, bytes]]
NO_HEADERS: Headers = []


class Outgoing(NamedTuple):
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = NO_HEADERS


class Batch(NamedTuple):
    """Records handed over together."""

    partition: int
    records: int
    metadata: asyncio.Future[Any]
    """Resolves to aiokafka's RecordMetadata; its offset is the first record's."""


def make_producer(bootstrap: str) -> AIOKafkaProducer:
    """Idempotent, so a retry neither doubles nor reorders: the n-th record sent is the partition's n-th."""
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        max_batch_size=BATCH_BYTES,
        max_request_size=REQUEST_BYTES,
        request_timeout_ms=WAIT_MS,
    )


@dataclass(slots=True)
class Sender:
    """*Guarantees*: records of a partition are appended in the order given; a failed send ends the replay."""

    producer: AIOKafkaProducer
    topic: str
    pending: set[asyncio.Future[Any]] = field(default_factory=set)

    async def send(self, records: Sequence[Outgoing]) -> list[Batch]:
        """Hand over a chunk; waits only while too much is in flight."""
        positions: dict[int, list[int]] = {}
        for i, record in enumerate(records):
            positions.setdefault(record.partition, []).append(i)
        batches: list[Batch] = []
        for partition, mine in positions.items():
            builder = self.producer.create_batch()
            for i in mine:
                _, key, value, headers = records[i]
                if builder.append(key=key, value=value, timestamp=None, headers=headers) is None:
                    batches.append(await self._hand_over(builder, partition))
                    builder = self.producer.create_batch()
                    builder.append(key=key, value=value, timestamp=None, headers=headers)
            batches.append(await self._hand_over(builder, partition))
        return batches

    async def _hand_over(self, builder: BatchBuilder, partition: int) -> Batch:
        builder.close()
        while len(self.pending) >= IN_FLIGHT:
            await self._collect(asyncio.FIRST_COMPLETED)
        future = await self.producer.send_batch(builder, self.topic, partition=partition)
        self.pending.add(future)
        return Batch(partition, builder.record_count(), future)

    async def flush(self) -> None:
        """Wait until everything is acknowledged. *Raises* what a send failed with."""
        while self.pending:
            await self._collect(asyncio.ALL_COMPLETED)

    async def _collect(self, when: str) -> None:
        done, _ = await asyncio.wait(self.pending, return_when=when)
        self.pending -= done
        for future in done:
            future.result()
