"""A judged topic on a real Kafka: produced as a judge does, cut as retention does, replaced as nobody should."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition as KafkaTopicPartition

from dataforge.stream.kafka_log import KafkaLog
from dataforge.stream.producer import BatchProducer
from dataforge.stream.records import LogRecord, TopicPartition
from dataforge.stream.topics import TopicSpec, ensure_topics

from orders import PARTITIONS

_WITHIN_S = 30


@dataclass(frozen=True, slots=True)
class Topic:
    kafka: str
    name: str

    def create(self) -> None:
        asyncio.run(ensure_topics(self.kafka, [TopicSpec(self.name, PARTITIONS)]))

    def append(self, logs: Sequence[Sequence[LogRecord]]) -> None:
        """To the end of each partition."""

        async def send() -> None:
            producer = BatchProducer(self.kafka)
            await producer.start()
            try:
                for partition, log in enumerate(logs):
                    await producer.send(self.name, partition, [(r.key, r.value, list(r.headers)) for r in log])
            finally:
                await producer.stop()

        asyncio.run(send())

    def append_in_a_transaction(self, partition: int, log: Sequence[LogRecord]) -> None:
        async def send() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=self.kafka, transactional_id=f"{self.name}-{partition}")
            await producer.start()
            try:
                async with producer.transaction():
                    for r in log:
                        await producer.send(self.name, r.value, r.key, partition, headers=list(r.headers))
            finally:
                await producer.stop()

        asyncio.run(send())

    def cut(self, below: Sequence[int]) -> None:
        """What retention does: the offsets below are gone."""
        cuts = {KafkaTopicPartition(self.name, p): RecordsToDelete(before_offset=at) for p, at in enumerate(below)}
        asyncio.run(self._asked(lambda admin: admin.delete_records(cuts)))

    def recreate(self) -> None:
        async def again(admin: AIOKafkaAdminClient) -> None:
            await admin.delete_topics([self.name])
            deadline = time.monotonic() + _WITHIN_S
            while self.name in await admin.list_topics():
                assert time.monotonic() < deadline, f"{self.name} is still there"

        asyncio.run(self._asked(again))
        self.create()

    def id(self) -> str:
        """Hex."""

        async def ask() -> bytes:
            log = KafkaLog(self.kafka)
            try:
                return (await log.bounds(TopicPartition(self.name, 0))).topic_id
            finally:
                await log.close()

        return asyncio.run(ask()).hex()

    async def _asked(self, question: Callable[[AIOKafkaAdminClient], Awaitable[object]]) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await admin.start()
        try:
            await question(admin)
        finally:
            await admin.close()
