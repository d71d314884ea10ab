"""Retention overtakes stopped workers, and topics are replaced, on a real log and a real store (DESIGN R5, R6b)."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition as KafkaTopicPartition

from dataforge.state.redis import RedisState
from dataforge.storage.chain import Chain
from dataforge.storage.s3 import S3Store
from dataforge.stream.judged import Acceptance, Verdict
from dataforge.stream.kafka_log import KafkaLog
from dataforge.stream.producer import BatchProducer
from dataforge.stream.records import TopicPartition
from dataforge.stream.topics import TopicSpec, ensure_topics

from devstack.model import Endpoints

pytestmark = [pytest.mark.integration, pytest.mark.slow]

WORKERS = ("landing_worker", "quality_worker", "aggregator")
CATCHING_UP = "reading on from its landing chain"
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
METRICS = "metrics:\n  sales: {event: sale, measure: count, by: [[]], windows: [1m]}\n"


async def until(
    condition: Callable[[], Awaitable[bool]], what: str, deadline_s: float = 120, said: Callable[[], str] = str
) -> None:
    try:
        async with asyncio.timeout(deadline_s):
            while not await condition():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"after {deadline_s} s still not: {what} {said()}") from None


class Platform:
    """The three workers over one topic of one partition, each a process that can be stopped and started."""

    def __init__(self, folder: Path, reach: Endpoints, store: S3Store) -> None:
        self.domain = folder / f"test{uuid4().hex[:12]}"
        self.domain.mkdir()
        (self.domain / "domain.yaml").write_text(f"name: {self.domain.name}\ndescription: A test\npartitions: 1\n")
        (self.domain / "sale.v1.json").write_text(json.dumps(SALE))
        (self.domain / "metrics.yaml").write_text(METRICS)
        self.name = f"{self.domain.name}.sale.v1"
        self.raw, self.judged, self.quarantine = (
            TopicPartition(f"{kind}.{self.name}", 0) for kind in ("raw", "judged", "quarantine")
        )
        self.reach, self.store = reach, store
        self.env = os.environ | reach.service_env([str(self.domain)])
        self.log, self.state = KafkaLog(reach.kafka), RedisState(reach.redis_url)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.sent = 0
        self.bad: list[bytes] = []

    def start(self, *workers: str) -> None:
        for worker in workers:
            env = {"DATAFORGE_INSTANCE": f"{worker}-{self.domain.name}", "DATAFORGE_OBJECT_MAX_AGE_MS": "100"}
            with self.log_of(worker).open("ab") as log:
                self.running[worker] = subprocess.Popen(
                    [sys.executable, "-m", worker], env=self.env | env, stdout=log, stderr=subprocess.STDOUT
                )

    def kill(self, *workers: str) -> None:
        """So that nobody closes in peace, or says goodbye to the group."""
        for worker in workers:
            process = self.running.pop(worker)
            process.send_signal(signal.SIGKILL)
            process.wait()

    def assert_running(self) -> None:
        for worker, process in self.running.items():
            assert process.poll() is None, f"{worker} ended: {self.said(worker)[-2000:]}"

    def log_of(self, worker: str) -> Path:
        return self.domain.parent / f"{worker}.log"

    def said(self, worker: str) -> str:
        return self.log_of(worker).read_text()

    async def produce(self, count: int, *, bad: int = 0) -> None:
        good = [
            json.dumps({"id": f"e{self.sent + n}", "at": "2026-11-21T08:00:00Z", "shop": 1}).encode()
            for n in range(count)
        ]
        wrong = [b"not json %d" % (self.sent + count + n) for n in range(bad)]
        producer = BatchProducer(self.reach.kafka)
        await producer.start()
        await producer.send(self.raw.topic, 0, [(b"k", value, []) for value in good + wrong])
        await producer.stop()
        self.sent += count + bad
        self.bad += wrong

    async def end(self, tp: TopicPartition) -> int:
        return (await self.log.bounds(tp)).end

    async def landed(self, tp: TopicPartition, offset: int) -> None:
        async def there() -> bool:
            self.assert_running()
            return (await Chain(self.store, *tp).end()).next >= offset

        await until(there, f"{tp} is landed up to {offset}")

    async def counted(self) -> None:
        async def there() -> bool:
            self.assert_running()
            return (await self.state.head(self.name, 0)).next == self.sent

        await until(there, f"all {self.sent} are counted")

    async def copied(self) -> None:
        async def there() -> bool:
            return set(self.bad) <= set(await self.copies())

        await until(there, "all rejected records are in quarantine")

    async def copies(self) -> list[bytes]:
        found: dict[bytes, bytes] = {}
        async for records in self.log.read_from(self.quarantine, 0):
            for record in records:
                if record.key is not None:
                    found.setdefault(record.key, record.value or b"")
        return list(found.values())

    async def delete_records(self, tp: TopicPartition, below: int) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.reach.kafka)
        await admin.start()
        try:
            await admin.delete_records({KafkaTopicPartition(*tp): RecordsToDelete(before_offset=below)})
        finally:
            await admin.close()
        assert (await self.log.bounds(tp)).begin == below

    async def recreate(self, topic: str) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.reach.kafka)
        await admin.start()
        try:
            await admin.delete_topics([topic])

            async def gone() -> bool:
                return topic not in await admin.list_topics()

            await until(gone, f"{topic} is deleted")
        finally:
            await admin.close()
        await ensure_topics(self.reach.kafka, [TopicSpec(topic, 1)])

    async def left(self, worker: str, because: str) -> None:
        """It ends by itself with exit code 1, and says why."""

        async def ended() -> bool:
            return self.running[worker].poll() is not None

        await until(ended, f"{worker} has left; it says", said=lambda: self.said(worker)[-2000:])
        assert self.running.pop(worker).returncode == 1, self.said(worker)[-2000:]
        assert because in self.said(worker), self.said(worker)[-2000:]

    async def assert_exact(self) -> None:
        landed = [record async for _, records in Chain(self.store, *self.judged).read(0) for record in records]
        accepted = list(Acceptance().accepted(landed))
        assert [stamp.src for _, stamp in accepted] == list(range(self.sent))
        assert [r.value for r, s in accepted if s.verdict is not Verdict.VALID] == self.bad
        counts = (await self.state.ledger(self.name, 0)).values()
        assert sum(c["counted"] + c["duplicate"] + c["late"] for c in counts) == self.sent - len(self.bad)
        assert sum(c["counted"] for c in counts) == self.sent - len(self.bad)
        assert await self.copies() == self.bad


@pytest.fixture
async def platform(tmp_path: Path, endpoints: Endpoints) -> AsyncIterator[Platform]:
    store = S3Store(
        endpoints.s3_bucket,
        endpoint=endpoints.s3_endpoint,
        region=endpoints.s3_region,
        access_key=endpoints.s3_access_key,
        secret_key=endpoints.s3_secret_key,
    )
    await store.open()
    platform = Platform(tmp_path, endpoints, store)
    topics = [platform.raw.topic, platform.judged.topic, platform.quarantine.topic]
    await ensure_topics(endpoints.kafka, [*(TopicSpec(t, 1) for t in topics), *shared()])
    try:
        yield platform
    finally:
        platform.kill(*platform.running)
        await platform.log.close()
        await platform.state.close()
        await store.close()


def shared() -> list[TopicSpec]:
    from devstack.topics import platform as of_all_domains

    return of_all_domains()


async def test_stopped_readers_read_on_from_the_chain(platform: Platform) -> None:
    platform.start(*WORKERS)
    await platform.produce(300, bad=2)
    await platform.counted()
    await platform.copied()

    platform.kill("aggregator", "quality_worker")
    await platform.produce(500, bad=3)
    await platform.landed(platform.raw, platform.sent)
    await platform.delete_records(platform.raw, platform.sent - 100)
    platform.start("quality_worker")  # the judge goes on at 302, the log begins at 705
    await platform.landed(platform.judged, platform.sent)
    assert f"{platform.raw.topic}/0: the log begins at 705, {CATCHING_UP} at 302" in platform.said("quality_worker")

    # The aggregator has seen 302 verdicts; the quarantine agent's place is its last copy.
    await platform.copied()
    await platform.produce(400)
    await platform.landed(platform.judged, platform.sent)
    platform.kill("quality_worker")
    await platform.delete_records(platform.judged, platform.sent - 50)
    await platform.produce(20, bad=1)
    platform.start("aggregator", "quality_worker")
    await platform.counted()
    await platform.copied()
    await platform.landed(platform.judged, platform.sent)
    assert f"{platform.judged.topic}/0: the log begins at 1155, {CATCHING_UP} at 302" in platform.said("aggregator")
    assert f"{platform.judged.topic}/0: the log begins at 1155, {CATCHING_UP} at 805" in platform.said("quality_worker")
    await platform.assert_exact()


async def test_an_aggregator_without_state_counts_all_there_ever_was(platform: Platform) -> None:
    platform.start("landing_worker", "quality_worker")
    await platform.produce(300, bad=1)
    await platform.landed(platform.judged, platform.sent)
    await platform.delete_records(platform.judged, platform.sent)
    platform.start("aggregator")
    await platform.counted()
    await platform.produce(10)
    await platform.counted()
    await platform.copied()
    await platform.landed(platform.judged, platform.sent)
    await platform.assert_exact()


async def test_a_recreated_topic_is_refused_by_who_runs_and_by_who_starts(platform: Platform) -> None:
    platform.start(*WORKERS)
    await platform.produce(50, bad=1)
    await platform.counted()
    await platform.landed(platform.judged, platform.sent)
    await platform.recreate(platform.judged.topic)
    for worker in WORKERS:
        await platform.left(worker, platform.judged.topic)
    platform.start(*WORKERS)
    for worker in WORKERS:
        await platform.left(worker, "the topic was recreated: its id is")
    assert (await Chain(platform.store, *platform.judged).end()).next == platform.sent
    assert (await platform.state.head(platform.name, 0)).next == platform.sent


async def test_a_raw_topic_that_was_recreated_gets_no_verdict_and_is_not_landed(platform: Platform) -> None:
    platform.start(*WORKERS)
    await platform.produce(50)
    await platform.counted()
    await platform.landed(platform.raw, 50)
    platform.kill(*WORKERS)
    await platform.recreate(platform.raw.topic)
    await platform.produce(60)
    platform.start("landing_worker", "quality_worker")
    await platform.left("landing_worker", f"{platform.raw.topic}/0: the topic was recreated: its id is")
    await platform.left("quality_worker", f"{platform.raw.topic}/0: the topic was recreated: its id is")
    assert await platform.end(platform.judged) == 50
    assert (await Chain(platform.store, *platform.raw).end()).next == 50
