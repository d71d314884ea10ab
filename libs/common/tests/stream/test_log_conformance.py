"""What readers ask a log, asked of Kafka and of its in-memory twin."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition as KafkaTopicPartition

from dataforge.errors import Fatal, Transient
from dataforge.stream.kafka_log import KafkaLog, _Together
from dataforge.stream.origin import Bounds
from dataforge.stream.producer import BatchProducer
from dataforge.stream.records import TopicPartition
from dataforge.stream.topics import TopicSpec, ensure_topics
from dataforge.testing.log import MemoryLog


@dataclass
class Subject:
    log: Any
    tp: TopicPartition
    send: Callable[[int], Awaitable[object]]
    truncate: Callable[[int], Awaitable[object]]


async def of_kafka(kafka: str) -> AsyncIterator[Subject]:
    tp = TopicPartition(f"test.{uuid4().hex[:8]}", 0)
    await ensure_topics(kafka, [TopicSpec(tp.topic, 1)])
    log, producer, admin = KafkaLog(kafka), BatchProducer(kafka), AIOKafkaAdminClient(bootstrap_servers=kafka)
    await producer.start()
    await admin.start()

    async def send(count: int) -> object:
        return await producer.send(*tp, [(None, b"%d" % n, []) for n in range(count)])

    async def truncate(below: int) -> object:
        return await admin.delete_records({KafkaTopicPartition(*tp): RecordsToDelete(before_offset=below)})

    try:
        yield Subject(log, tp, send, truncate)
    finally:
        await admin.close()
        await producer.stop()
        await log.close()


async def in_memory() -> AsyncIterator[Subject]:
    tp, log = TopicPartition("test", 0), MemoryLog()

    async def send(count: int) -> object:
        return await log.send(*tp, [(None, b"%d" % n, []) for n in range(count)])

    async def truncate(below: int) -> object:
        return log.truncate(tp, below)

    yield Subject(log, tp, send, truncate)


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.integration)])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    made = in_memory() if request.param == "memory" else of_kafka(request.getfixturevalue("kafka"))
    async for found in made:
        yield found


async def test_bounds_move_with_the_log_and_its_id_stays(subject: Subject) -> None:
    log, tp = subject.log, subject.tp
    empty = await log.bounds(tp)
    assert (empty.begin, empty.end, len(empty.topic_id)) == (0, 0, 16)
    assert any(empty.topic_id)
    await subject.send(10)
    await subject.truncate(4)
    assert await log.bounds(tp) == Bounds(empty.topic_id, 4, 10)
    assert await log.topic_ids([tp.topic]) == {tp.topic: empty.topic_id}
    await subject.truncate(10)
    assert await log.bounds(tp) == Bounds(empty.topic_id, 10, 10)


async def test_a_record_is_there_while_the_log_holds_it(subject: Subject) -> None:
    await subject.send(10)
    await subject.truncate(4)
    found = [await subject.log.record_at(subject.tp, offset) for offset in (0, 3, 4, 9, 10)]
    assert [record and (record.offset, record.value) for record in found] == [None, None, (4, b"4"), (9, b"9"), None]
    last = await subject.log.last_record(subject.tp)
    assert last.offset == 9
    await subject.truncate(10)
    assert await subject.log.last_record(subject.tp) is None


async def test_a_tail_is_read_to_the_end_and_from_nowhere_else(subject: Subject) -> None:
    await subject.send(10)
    await subject.truncate(4)
    for offset in (4, 7, 10):
        read = [r.offset async for records in subject.log.read_from(subject.tp, offset) for r in records]
        assert read == list(range(offset, 10))
    for offset in (3, 11):
        with pytest.raises(Fatal):
            _ = [records async for records in subject.log.read_from(subject.tp, offset)]


async def test_a_reading_that_is_given_up_leaves_nothing_for_the_next(subject: Subject) -> None:
    await subject.send(10)
    for offset in (3, 0, 7):
        async with aclosing(subject.log.read_from(subject.tp, offset)) as read:
            async for records in read:
                assert records[0].offset == offset
                break
    read = [r.offset async for records in subject.log.read_from(subject.tp, 5) for r in records]
    assert read == list(range(5, 10))


@pytest.mark.integration
async def test_a_topic_that_is_not_there_is_named(kafka: str) -> None:
    log, name = KafkaLog(kafka), f"test.{uuid4().hex[:8]}"
    with pytest.raises(Fatal, match=name):
        await log.topic_ids([name])
    await log.close()


class Asked:
    """Answers a key with its square, when told to."""

    def __init__(self) -> None:
        self.batches: list[set[int]] = []
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, keys: Any) -> dict[int, int]:
        self.batches.append(set(keys))
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return {key: key * key for key in keys}


async def test_questions_that_come_meanwhile_are_asked_together() -> None:
    asked = Asked()
    together = _Together(asked)
    first = asyncio.create_task(together.ask(1))
    while not asked.batches:
        await asyncio.sleep(0)
    others = [asyncio.create_task(together.ask(key)) for key in (2, 3, 3, 1)]
    await asyncio.sleep(0)
    asked.go.set()
    assert await asyncio.gather(first, *others) == [1, 4, 9, 9, 1]
    assert asked.batches == [{1}, {1, 2, 3}], "an answer is never older than its question"


async def test_an_error_reaches_all_who_asked_and_nobody_after() -> None:
    asked = Asked()
    together = _Together(asked)
    asked.go.set()
    asked.error = Transient("away")
    assert [type(e) for e in await asyncio.gather(together.ask(1), together.ask(2), return_exceptions=True)] == [
        Transient,
        Transient,
    ]
    asked.error = None
    assert await together.ask(2) == 4


async def test_one_who_leaves_takes_nobody_with_him_but_by_a_transient() -> None:
    asked = Asked()
    together = _Together(asked)
    asking = asyncio.create_task(together.ask(1))
    while not asked.batches:
        await asyncio.sleep(0)
    waiting = asyncio.create_task(together.ask(2))
    asking.cancel()
    await asyncio.wait([asking])
    asked.go.set()
    assert await waiting == 4
