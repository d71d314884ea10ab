"""The service as it is wired, as a process of its own, on a real log and a real store; killed on the way."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from dataforge.storage.chain import Chain
from dataforge.storage.s3 import S3Store
from dataforge.stream.kafka_log import KafkaLog
from dataforge.stream.producer import BatchProducer
from dataforge.stream.records import TopicPartition
from dataforge.stream.topics import TopicSpec, ensure_topics

from devstack.testing.plugin import S3Access

pytestmark = [pytest.mark.integration, pytest.mark.core]

SALE = {
    "type": "object",
    "x-dataforge": {"id": "id", "event_time": "at", "key": "shop"},
    "properties": {
        "id": {"type": "string"},
        "at": {"type": "string", "format": "date-time"},
        "shop": {"type": "integer"},
    },
    "required": ["id", "at", "shop"],
}


@pytest.fixture
def domain(tmp_path: Path) -> Path:
    folder = tmp_path / f"test{uuid4().hex[:12]}"
    folder.mkdir()
    (folder / "domain.yaml").write_text(f"name: {folder.name}\ndescription: A test\npartitions: 1\n")
    (folder / "sale.v1.json").write_text(json.dumps(SALE))
    return folder


@pytest.fixture
async def store(s3: S3Access) -> AsyncIterator[S3Store]:
    store = S3Store(
        s3.bucket, endpoint=s3.endpoint, region=s3.region, access_key=s3.access_key, secret_key=s3.secret_key
    )
    await store.open()
    yield store
    await store.close()


def start(domain: Path, kafka: str, s3: S3Access) -> subprocess.Popen[bytes]:
    env = {
        "DATAFORGE_KAFKA": kafka,
        "DATAFORGE_S3_ENDPOINT": s3.endpoint,
        "DATAFORGE_S3_BUCKET": s3.bucket,
        "DATAFORGE_S3_REGION": s3.region,
        "DATAFORGE_DOMAINS": str(domain),
        "DATAFORGE_INSTANCE": domain.name,
        "DATAFORGE_OBJECT_MAX_AGE_MS": "50",
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
    }
    log = (domain.parent / "landing-worker.log").open("ab")
    with log:
        return subprocess.Popen(
            [sys.executable, "-m", "landing_worker"], env=os.environ | env, stdout=log, stderr=subprocess.STDOUT
        )


async def landed_to(chain: Chain, offset: int, worker: subprocess.Popen[bytes], within_s: float = 60) -> None:
    async with asyncio.timeout(within_s):
        while (await chain.end()).next < offset:
            assert worker.poll() is None, "the worker ended; its log is beside the domain folder"
            await asyncio.sleep(0.05)


async def test_a_killed_worker_lands_every_byte_once(domain: Path, kafka: str, s3: S3Access, store: S3Store) -> None:
    topic = f"raw.{domain.name}.sale.v1"
    await ensure_topics(kafka, [TopicSpec(topic, 1), TopicSpec(topic.replace("raw.", "judged."), 1)])
    producer = BatchProducer(kafka)
    await producer.start()
    sent = [(None, b"", []), (b"k", None, [("h", b"\xff")]), *((b"k", os.urandom(200), []) for _ in range(2_000))]
    await producer.send(topic, 0, sent[:1_000])
    chain, worker = Chain(store, topic, 0), start(domain, kafka, s3)
    try:
        await landed_to(chain, 1_000, worker)
        await producer.send(topic, 0, sent[1_000:])
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        worker = start(domain, kafka, s3)
        await landed_to(chain, len(sent), worker)
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 20) == 0
    finally:
        worker.kill()
        worker.wait()
        await producer.stop()
    assert [problem async for problem in chain.verify()] == []
    landed = [record async for _, records in chain.read(0) for record in records]
    assert [(r.key, r.value, list(r.headers)) for r in landed] == sent
    await the_log_is_seen_as_it_is(kafka, topic, landed[-1].timestamp)


async def the_log_is_seen_as_it_is(kafka: str, topic: str, timestamp: int) -> None:
    log, tp = KafkaLog(kafka), TopicPartition(topic, 0)
    topic_id, begin, end = await log.bounds(tp)
    assert any(topic_id)
    assert (begin, end) == (0, 2_002)
    record = await log.record_at(tp, 2_001)
    assert record is not None
    assert (record.offset, record.timestamp) == (2_001, timestamp)
    assert await log.record_at(tp, 2_002) is None
    await log.close()
