"""A log from its beginning, poll by poll, by aiokafka alone."""

from collections.abc import AsyncIterator, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.structs import TopicPartition

Poll = Mapping[TopicPartition, Sequence[ConsumerRecord[bytes, bytes]]]


async def polled(bootstrap: str, topic: str, partitions: int, events: int) -> AsyncIterator[Poll]:
    """Until there were as many events."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
        max_partition_fetch_bytes=8 * 1024 * 1024,
        isolation_level="read_committed",
    )
    await consumer.start()
    tps = [TopicPartition(topic, partition) for partition in range(partitions)]
    consumer.assign(tps)
    await consumer.end_offsets(tps)  # a part of starting, also where there is nothing to read
    seen = 0
    while seen < events:
        records = await consumer.getmany(timeout_ms=1000, max_records=2000)
        seen += sum(map(len, records.values()))
        yield records
    await consumer.stop()
