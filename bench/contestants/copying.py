"""Copies a log as it is, by whole batches: what quality-worker does, without a look at the records.

Run as `python copying.py BOOTSTRAP FROM TO PARTITIONS EVENTS`.
"""

import asyncio
import gc
import sys
from collections.abc import Sequence

import uvloop
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from polling import polled

Record = ConsumerRecord[bytes, bytes]


async def copy(bootstrap: str, source: str, target: str, partitions: int, events: int) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        compression_type="zstd",
        max_batch_size=512 * 1024,
    )

    async def send(tp: TopicPartition, records: Sequence[Record]) -> None:
        batch = producer.create_batch()
        for record in records:
            if batch.append(key=record.key, value=record.value, timestamp=None, headers=[]) is None:
                await (await producer.send_batch(batch, target, partition=tp.partition))
                batch = producer.create_batch()
                batch.append(key=record.key, value=record.value, timestamp=None, headers=[])
        await (await producer.send_batch(batch, target, partition=tp.partition))

    await producer.start()
    async for poll in polled(bootstrap, source, partitions, events):
        await asyncio.gather(*(send(tp, records) for tp, records in poll.items()))
    await producer.stop()


if __name__ == "__main__":
    gc.set_threshold(50_000, 50, 100)  # as our workers do
    uvloop.run(copy(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
