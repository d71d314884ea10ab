"""The batch transport on a real Kafka: every record once, whatever dies."""

import asyncio
import os
import random
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from dataforge.stream.producer import BatchProducer
from dataforge.stream.records import TopicPartition
from dataforge.stream.topics import TopicSpec, end_offsets, ensure_topics

pytestmark = pytest.mark.integration

PARTITIONS = 4
WORKER = Path(__file__).with_name("counting_worker.py")
SCHEMA = """
CREATE TABLE owner (partition INTEGER PRIMARY KEY, claim TEXT, position INTEGER NOT NULL);
CREATE TABLE seen (partition INTEGER, offset INTEGER, value BLOB);
CREATE TABLE opened (partition INTEGER, position INTEGER);
"""


async def until(condition: Callable[[], Awaitable[bool]], what: str, deadline_s: float = 60) -> None:
    try:
        async with asyncio.timeout(deadline_s):
            while not await condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"after {deadline_s} s still not: {what}") from None


class Worker:
    """One process of the counting worker; it logs to a file in `folder`."""

    def __init__(self, kafka: str, topic: str, folder: Path, name: str, port: int, static: bool) -> None:
        self.folder, self.name, self.port, self.topic = folder, name, port, topic
        self.env = os.environ | {"DATAFORGE_KAFKA": kafka, "DATAFORGE_ADMIN_PORT": str(port)}
        if static:
            self.env["DATAFORGE_INSTANCE"] = name
        self.process: asyncio.subprocess.Process | None = None

    @property
    def database(self) -> Path:
        return self.folder / "state.db"

    async def start(self) -> None:
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, WORKER, self.topic, self.database, env=self.env, stderr=log, stdout=log
            )

    async def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        if number == signal.SIGTERM and self.process.returncode is None:
            # Before it is ready it has no handlers yet, and SIGTERM would end it like any process.
            await until(self.ready, "ready", 40)
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(15):
            return await self.process.wait()

    async def ready(self) -> bool:
        try:
            async with (
                aiohttp.ClientSession() as client,
                client.get(f"http://127.0.0.1:{self.port}/readyz") as response,
            ):
                return response.status == 200
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def workers(kafka: str, topic: str, folder: Path, count: int, *, static: bool) -> AsyncIterator[list[Worker]]:
    ports = random.sample(range(20_000, 32_000), count)
    group = [Worker(kafka, topic, folder, f"worker-{n}", ports[n], static) for n in range(count)]
    with closing(sqlite3.connect(folder / "state.db")) as database:
        # Before any of them: two that change a new file to WAL at once do not wait for each other.
        database.execute("PRAGMA journal_mode=WAL")
        database.executescript(SCHEMA)
    try:
        for worker in group:
            await worker.start()
        yield group
    finally:
        for worker in group:
            if worker.process is not None:
                await worker.end(signal.SIGKILL)


async def produce(kafka: str, topic: str, total: int, rate: float) -> None:
    """`total` records per partition, in small batches, at about `rate` records a second and partition."""
    producer = BatchProducer(kafka)
    await producer.start()
    try:

        async def one(partition: int) -> None:
            sent = 0
            while sent < total:
                step = min(50, total - sent)
                await producer.send(topic, partition, [(None, b"%d" % (sent + i), ()) for i in range(step)])
                sent += step
                await asyncio.sleep(step / rate)

        await asyncio.gather(*(one(partition) for partition in range(PARTITIONS)))
    finally:
        await producer.stop()


def read(path: Path, query: str) -> list[tuple]:
    database = sqlite3.connect(path, timeout=30)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


async def all_read(path: Path, ends: dict[TopicPartition, int]) -> bool:
    positions = dict(read(path, "SELECT partition, position FROM owner"))
    return positions == {tp.partition: end for tp, end in ends.items()}


def assert_exact(path: Path, total: int) -> None:
    rows = read(
        path, "SELECT partition, count(*), count(DISTINCT offset), min(offset), max(offset) FROM seen GROUP BY 1"
    )
    assert rows == [(partition, total, total, 0, total - 1) for partition in range(PARTITIONS)]
    assert read(path, "SELECT count(*) FROM seen WHERE CAST(value AS TEXT) <> CAST(offset AS TEXT)") == [(0,)]


@pytest.fixture
async def topic(kafka: str) -> str:
    name = f"test.{uuid4().hex[:8]}"
    await ensure_topics(kafka, [TopicSpec(name, PARTITIONS)])
    return name


@pytest.mark.slow
@pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
async def test_every_record_once_through_kills_stops_and_rebalances(
    kafka: str, topic: str, tmp_path: Path, static: bool
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - a failing run must say it
    dice = random.Random(seed)
    total = 10_000
    tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    async with workers(kafka, topic, tmp_path, 2, static=static) as group:
        producing = asyncio.create_task(produce(kafka, topic, total, rate=600))

        async def progressed(beyond: int) -> bool:
            return sum(row[0] for row in read(group[0].database, "SELECT position FROM owner")) > beyond

        for worker in group:
            await until(worker.ready, "ready")
        pids = set()
        for share in (0.15, 0.3, 0.45, 0.6, 0.75):
            await until(lambda share=share: progressed(int(share * total * PARTITIONS)), "progress", 40)
            worker = dice.choice(group)
            assert worker.process is not None
            pids.add(worker.process.pid)
            number = dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
            code = await worker.end(number)
            assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
            await worker.start()
            assert worker.process.pid not in pids
        await producing
        ends = await end_offsets(kafka, tps)
        await until(lambda: all_read(group[0].database, ends), "everything read", 40)
        for worker in group:
            assert await worker.end(signal.SIGTERM) == 0
    assert_exact(group[0].database, total)
    # The faults did something: partitions were opened in the middle of the log.
    assert read(group[0].database, "SELECT count(*) FROM opened WHERE position > 0") > [(0,)]


async def test_a_frozen_owner_that_wakes_up_changes_nothing(kafka: str, topic: str, tmp_path: Path) -> None:
    total = 4_000
    tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    async with workers(kafka, topic, tmp_path, 2, static=False) as (one, two):
        for worker in (one, two):
            await until(worker.ready, "ready")
        producing = asyncio.create_task(produce(kafka, topic, total, rate=400))
        frozen = one.process
        assert frozen is not None
        frozen.send_signal(signal.SIGSTOP)
        await producing
        ends = await end_offsets(kafka, tps)
        await until(lambda: all_read(two.database, ends), "the other one has read everything", 40)
        frozen.send_signal(signal.SIGCONT)

        # It either notices that it was superseded and leaves, or joins again and is ready.
        async def settled() -> bool:
            return frozen.returncode is not None or await one.ready()

        await until(settled, "settled", 40)
        assert await two.end(signal.SIGTERM) == 0
    assert_exact(two.database, total)


async def test_of_two_processes_with_one_instance_name_one_leaves_and_says_why(
    kafka: str, topic: str, tmp_path: Path
) -> None:
    async with workers(kafka, topic, tmp_path, 2, static=True) as (one, two):
        await until(one.ready, "ready")
        two.env["DATAFORGE_INSTANCE"] = one.name
        await two.end(signal.SIGKILL)  # it began under its own name
        await two.start()
        assert one.process is not None
        async with asyncio.timeout(40):
            assert await one.process.wait() == 1
        await produce(kafka, topic, 200, rate=5_000)
        ends = await end_offsets(kafka, [TopicPartition(topic, partition) for partition in range(PARTITIONS)])
        await until(lambda: all_read(two.database, ends), "everything read", 40)
        assert await two.end(signal.SIGTERM) == 0
    assert_exact(two.database, 200)
    assert f"another process has the instance name {topic}-worker-0" in (tmp_path / "worker-0.log").read_text()


async def test_a_second_worker_takes_a_share_and_gives_it_back(kafka: str, topic: str, tmp_path: Path) -> None:
    async with workers(kafka, topic, tmp_path, 3, static=False) as group:
        for worker in group:
            await until(worker.ready, "ready")
        await produce(kafka, topic, 500, rate=5_000)
        assert await group[0].end(signal.SIGTERM) == 0
        await produce(kafka, topic, 500, rate=5_000)
        ends = await end_offsets(kafka, [TopicPartition(topic, partition) for partition in range(PARTITIONS)])
        await until(lambda: all_read(group[0].database, ends), "everything read", 30)
    rows = read(group[0].database, "SELECT partition, count(*), count(DISTINCT offset) FROM seen GROUP BY 1")
    assert rows == [(partition, 1000, 1000) for partition in range(PARTITIONS)]


async def test_a_worker_that_gets_no_partition_is_ready(kafka: str, tmp_path: Path) -> None:
    topic = f"test.{uuid4().hex[:8]}"
    await ensure_topics(kafka, [TopicSpec(topic, 1)])
    async with workers(kafka, topic, tmp_path, 2, static=False) as group:
        for worker in group:
            await until(worker.ready, "ready")


async def test_a_position_outside_of_the_log_ends_the_process_and_says_so(
    kafka: str, topic: str, tmp_path: Path
) -> None:
    async with workers(kafka, topic, tmp_path, 1, static=False) as (worker,):
        await until(worker.ready, "ready")
        assert await worker.end(signal.SIGTERM) == 0
        database = sqlite3.connect(worker.database)
        with database:
            database.execute("UPDATE owner SET position = 1000")
        database.close()
        await worker.start()
        assert worker.process is not None
        async with asyncio.timeout(20):
            assert await worker.process.wait() == 1
    assert "outside of its log" in (tmp_path / "worker-0.log").read_text()
