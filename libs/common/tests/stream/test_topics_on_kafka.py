import asyncio
import secrets
from uuid import uuid4

import pytest

from dataforge.errors import Fatal, Transient
from dataforge.stream.producer import BatchProducer
from dataforge.stream.range_reader import RangeReader
from dataforge.stream.records import TopicPartition
from dataforge.stream.topics import TopicSpec, end_offsets, ensure_topics, topic_ids

pytestmark = pytest.mark.integration

NOWHERE = "127.0.0.1:1"


@pytest.fixture
async def topic(kafka: str) -> str:
    name = f"test.{uuid4().hex[:8]}"
    await ensure_topics(kafka, [TopicSpec(name, 2)])
    return name


async def test_topics_are_created_once(kafka: str) -> None:
    spec = TopicSpec(f"test.{uuid4().hex[:8]}", 2)
    assert await ensure_topics(kafka, [spec]) == [spec.name]
    assert await ensure_topics(kafka, [spec]) == []


async def test_another_number_of_partitions_is_refused_with_what_to_do(kafka: str, topic: str) -> None:
    with pytest.raises(Fatal, match="has 2 partitions and its domain says 3"):
        await ensure_topics(kafka, [TopicSpec(topic, 3)])


async def test_a_topic_has_an_id_of_its_own(kafka: str, topic: str) -> None:
    other = TopicSpec(f"{topic}.other", 1)
    await ensure_topics(kafka, [other])
    ids = await topic_ids(kafka, [topic, other.name])
    assert set(ids) == {topic, other.name}
    assert len(set(ids.values()) | {bytes(16)}) == 3
    assert all(len(one) == 16 for one in ids.values())


async def test_an_unknown_topic_has_none(kafka: str) -> None:
    with pytest.raises(Fatal, match="UnknownTopic"):
        await topic_ids(kafka, ["no.such.topic"])


async def test_records_keep_order_over_batches_and_their_offsets_come_back(kafka: str, topic: str) -> None:
    tp = TopicPartition(topic, 1)
    producer = BatchProducer(kafka, max_batch_bytes=4096)
    await producer.start()
    try:
        sent = [(b"k%d" % i, b"v" * (i % 700), [("n", b"%d" % i)]) for i in range(500)]
        sent.insert(100, (b"big", bytes(50_000), []))  # larger than a batch
        assert await producer.send(*tp, sent) == 500
        assert await producer.send(*tp, [(None, None, ())]) == 501
        assert await producer.send(*tp, []) == -1
    finally:
        await producer.stop()
    async with RangeReader(kafka) as reader:
        read = [record async for records in reader.read(tp, 0, 502) for record in records]
    assert [record.offset for record in read] == list(range(502))
    assert [(r.key, r.value, list(r.headers)) for r in read[:-1]] == [(k, v, list(h)) for k, v, h in sent]
    assert all(record.timestamp_type == 1 for record in read), "LogAppendTime"


async def test_sends_to_one_partition_wait_for_each_other(kafka: str, topic: str) -> None:
    producer = BatchProducer(kafka)
    await producer.start()
    try:
        lasts = await asyncio.gather(
            *(producer.send(topic, 0, [(None, b"%d" % n, ())] * 10) for n in range(20)),
        )
    finally:
        await producer.stop()
    assert lasts == [10 * n + 9 for n in range(20)]


async def test_a_failed_send_is_fatal(kafka: str) -> None:
    small = TopicSpec(f"test.{uuid4().hex[:8]}", 1, max_message_bytes=1000)
    await ensure_topics(kafka, [small])
    producer = BatchProducer(kafka)
    await producer.start()
    try:
        with pytest.raises(Fatal, match="result is unknown"):
            await producer.send(small.name, 0, [(None, secrets.token_bytes(20_000), ())])
    finally:
        await producer.stop()


async def test_a_range_ends_before_its_end(kafka: str, topic: str) -> None:
    tp = TopicPartition(topic, 0)
    producer = BatchProducer(kafka)
    await producer.start()
    await producer.send(*tp, [(None, b"%d" % i, ()) for i in range(100)])
    await producer.stop()
    async with RangeReader(kafka) as reader:
        assert [r.offset async for records in reader.read(tp, 10, 20) for r in records] == list(range(10, 20))
        assert [r.offset async for records in reader.read(tp, 98, 100) for r in records] == [98, 99]
        assert [r.offset async for records in reader.read(tp, 50, 50) for r in records] == []
        last = await reader.last_record(tp)
        assert last is not None
        assert last.offset == 99
        assert await reader.last_record(TopicPartition(topic, 1)) is None
        with pytest.raises(Fatal, match="outside of its log"):
            [r async for r in reader.read(tp, 500, 600)]
    assert await end_offsets(kafka, [tp]) == {tp: 100}


async def test_no_kafka_is_transient() -> None:
    for call in (end_offsets(NOWHERE, []), ensure_topics(NOWHERE, []), BatchProducer(NOWHERE).start()):
        with pytest.raises(Transient, match=NOWHERE):
            await call
