"""Reads a topic once, decodes and sums; prints records, seconds and CPU seconds as JSON. For the speed test.

Run as `python reading_loop.py bare|app TOPIC PARTITIONS RECORDS`; Kafka by DATAFORGE_KAFKA.
"""

import gc
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence

import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition as KafkaTopicPartition

from dataforge.runtime.settings import ServiceSettings, load_settings
from dataforge.stream.app import StreamApp
from dataforge.stream.origin import Origin
from dataforge.stream.records import Record, RecordBatch, TopicPartition
from dataforge.stream.work import Source


class Event(msgspec.Struct):
    store: int
    value: float


class Sums:
    def __init__(self, total: int) -> None:
        self.total, self.count = total, 0
        self.sums: Counter[int] = Counter()
        self.decode = msgspec.json.Decoder(Event).decode
        self.started = self.cpu = 0.0

    def add(self, records: Sequence[Record]) -> bool:
        """True once everything was read."""
        if not self.count:
            self.started, self.cpu = time.perf_counter(), time.process_time()
        decode, sums = self.decode, self.sums
        for record in records:
            event = decode(record.value or b"")
            sums[event.store] += event.value  # pyright: ignore[reportArgumentType]
        self.count += len(records)
        return self.count >= self.total

    def report(self) -> None:
        elapsed = {"s": time.perf_counter() - self.started, "cpu_s": time.process_time() - self.cpu}
        sys.stdout.write(msgspec.json.encode({"records": self.count, **elapsed}).decode() + "\n")
        sys.stdout.flush()


async def bare(settings: ServiceSettings, topic: str, partitions: int, sums: Sums) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        enable_auto_commit=False,
        fetch_max_wait_ms=50,
        max_partition_fetch_bytes=8 * 1024 * 1024,
        isolation_level="read_committed",
    )
    await consumer.start()
    tps = [KafkaTopicPartition(topic, partition) for partition in range(partitions)]
    consumer.assign(tps)
    for tp in tps:
        consumer.seek(tp, 0)
    done = False
    while not done:
        for records in (await consumer.getmany(timeout_ms=1000, max_records=2000)).values():
            done = sums.add(records)
    sums.report()
    await consumer.stop()


class Reading:
    def __init__(self, sums: Sums) -> None:
        self.sums, self.position = sums, 0

    @property
    def origin(self) -> Origin:
        return Origin()

    async def open(self) -> int:
        return 0

    async def take(self, batch: RecordBatch) -> None:
        done = self.sums.add(batch.records)
        self.position = batch.next
        if done:
            self.sums.report()
            os.kill(os.getpid(), signal.SIGTERM)

    async def tick(self) -> None: ...

    async def close(self) -> None: ...


def main() -> None:
    kind, topic, partitions, total = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    settings, sums = load_settings(ServiceSettings), Sums(total)
    if kind == "bare":
        gc.set_threshold(50_000, 50, 100)
        uvloop.run(bare(settings, topic, partitions, sums))
    else:

        def reading(_: TopicPartition) -> Reading:
            return Reading(sums)

        StreamApp("reading", settings, [Source("reading", [topic], reading)], group=f"{topic}.{os.getpid()}").run()


if __name__ == "__main__":
    main()
