"""A replay into a real Kafka, read back by a plain consumer."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from retail_log import FAULTS, HORIZONS

from dataforge.stream.judged import TRACEPARENT

from devstack.embedded import EmbeddedServers
from devstack.errors import StackError
from devstack.oracle.log import end_offsets, read_raw
from devstack.oracle.outcomes import contradictions, decide, load
from devstack.replay.manifest import Manifest
from devstack.replay.purchases import read_purchases
from devstack.replay.replay import Options, partition_of, replay
from devstack.replay.send import make_producer

pytestmark = pytest.mark.integration

PARTITIONS = 3
EVENTS = 4_000


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("replay")
    with EmbeddedServers(folder, ["kafka"]) as servers:
        yield servers.endpoints.kafka


@pytest.fixture
async def topic(kafka: str, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    name = f"raw.{abs(hash(request.node.name))}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        configs = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(8 * 1024 * 1024)}
        await admin.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs=configs)])
        yield name
    finally:
        await admin.close()


@pytest.fixture
async def producer(kafka: str) -> AsyncIterator[AIOKafkaProducer]:
    async with make_producer(kafka) as producer:
        yield producer


@pytest.mark.parametrize("options", [Options(faults=FAULTS), Options(rate=4_000, faults=FAULTS)], ids=["max", "rate"])
async def test_what_was_planned_is_what_kafka_holds(
    kafka: str, topic: str, producer: AIOKafkaProducer, options: Options
) -> None:
    manifest = Manifest()
    done = await replay(producer, read_purchases(EVENTS), options, HORIZONS, topic=topic, manifest=manifest)
    raw = await read_raw(kafka, topic)
    assert raw.num_rows == done.sent == manifest.table().num_rows
    assert sum((await end_offsets(kafka, topic)).values()) == done.sent
    with duckdb.connect() as db:
        load(db, raw, manifest.table())
        assert db.execute("FROM unexplained").fetchall() == []
        decide(db, HORIZONS.lateness_ms)
        assert contradictions(db) == []
        outcomes = dict(db.execute("SELECT outcome, count(*) FROM expected GROUP BY 1").fetchall())
    assert outcomes["late"] > 50
    assert outcomes["duplicate"] > 100


async def test_keys_go_where_the_ordinary_partitioner_sends_them(topic: str, producer: AIOKafkaProducer) -> None:
    households = np.array([1, 900, 1228, 2, 1228, 77])
    sent = [await producer.send_and_wait(topic, b"{}", key=b"%d" % h) for h in households.tolist()]
    assert partition_of(households, PARTITIONS).tolist() == [metadata.partition for metadata in sent]


async def test_a_paced_replay_takes_its_time_and_event_time_is_now(topic: str, producer: AIOKafkaProducer) -> None:
    manifest = Manifest()
    done = await replay(producer, read_purchases(500), Options(rate=500), HORIZONS, topic=topic, manifest=manifest)
    assert 0.9 < done.elapsed_s < 5
    event_ms = manifest.table()["event_ms"].to_numpy()
    assert event_ms[-1] - event_ms[0] == 998


async def test_traced_events_carry_their_context(kafka: str, topic: str, producer: AIOKafkaProducer) -> None:
    from aiokafka import AIOKafkaConsumer

    await replay(producer, read_purchases(200), Options(trace_ratio=0.5), HORIZONS, topic=topic)
    async with AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest") as consumer:
        traced = 0
        for _ in range(200):
            record = await asyncio.wait_for(consumer.getone(), 10)
            traced += any(name == TRACEPARENT for name, _ in record.headers)
    assert 60 < traced < 140


async def test_a_missing_topic_says_what_to_do(producer: AIOKafkaProducer) -> None:
    with pytest.raises(StackError, match="dataforge up"):
        await replay(producer, read_purchases(10), Options(), HORIZONS, topic="raw.nothing.here.v1")
