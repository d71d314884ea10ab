"""Logs for the suites: written, and compared by the values they hold."""

import asyncio
from collections.abc import Callable, Iterable
from hashlib import sha256

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from dataforge.stream.judged import Verdict, unpack
from dataforge.stream.producer import BatchProducer
from dataforge.stream.records import Record

from devstack.bench.sales import PARTITIONS, Produced

_LOOK_S = 0.1


async def fill(kafka: str, topic: str, records: Callable[[int], Iterable[Produced]]) -> None:
    """Partition -> its records."""
    producer = BatchProducer(kafka)
    await producer.start()
    try:
        for partition in range(PARTITIONS):
            await producer.send(topic, partition, records(partition))
    finally:
        await producer.stop()


class Follower:
    """Whether a topic holds so many records: asked for ten times a second, so that asking costs nobody anything."""

    def __init__(self, kafka: str, topic: str, records: int) -> None:
        self._records, self._tps = records, [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        self._consumer = AIOKafkaConsumer(bootstrap_servers=kafka)

    async def __aenter__(self) -> "Follower":
        await self._consumer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def full(self) -> bool:
        await asyncio.sleep(_LOOK_S)
        return sum((await self._consumer.end_offsets(self._tps)).values()) >= self._records


def digest_of(partitions: Iterable[Iterable[bytes]]) -> str:
    """Of each partition's values, or of what they were joined to, in their order."""
    hashes, size = [], 0
    for partition in partitions:
        hashed = sha256()
        for value in partition:
            hashed.update(value)
            size += len(value)
        hashes.append(hashed.hexdigest()[:12])
    return f"{size} bytes {' '.join(hashes)}"


def found_valid(record: Record) -> bool:
    """Of a judged log."""
    return unpack(record.headers).verdict is Verdict.VALID


async def values_of(kafka: str, topic: str, keep: Callable[[Record], bool] = lambda _: True) -> list[list[bytes]]:
    """Partition by partition, the values of the records that the log holds now; empty ones for those not to keep."""
    found: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka, auto_offset_reset="earliest", max_partition_fetch_bytes=8 * 1024 * 1024
    )
    await consumer.start()
    try:
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        while sum(map(len, found)) < sum(ends.values()):
            for tp, records in (await consumer.getmany(timeout_ms=1000)).items():
                found[tp.partition] += [record.value or b"" if keep(record) else b"" for record in records]
    finally:
        await consumer.stop()
    return found
