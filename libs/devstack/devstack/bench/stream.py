"""The stream suite: the aggregator as it is deployed beside others that count the same sales from the same topic.

Every contestant runs alone, from the topic's first record, in rounds that take turns. What its mere start costs is
measured in each round too, over an empty topic, and taken away.
"""

import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import httpx
import msgspec
from redis.asyncio import Redis

from dataforge.contracts.load import load_domains
from dataforge.kpi.catalogue import Catalogue
from dataforge.kpi.value import value_of
from dataforge.state.redis import RedisState
from dataforge.stream.producer import BatchProducer
from dataforge.stream.topics import TopicSpec, ensure_topics

from devstack.bench.answers import digest
from devstack.bench.contest import OURS, Measured, SuiteReport, report
from devstack.bench.process import Cost, cost_of
from devstack.bench.sales import PARTITIONS, WINDOW_MS, Row, Sales, drawn
from devstack.model import Endpoints
from devstack.paths import repo_root
from devstack.ports import PortClaims
from devstack.stack import Stack

BENCH = repo_root() / "bench"
DOMAIN = BENCH / "sales"
EVENT, TOPIC, EMPTY = "sales.sale.v1", "judged.sales.sale.v1", "judged.sales.none.v1"
_FOREVER_MS = 2**53

Say = Callable[[str], None]


@dataclass(frozen=True)
class Contestant:
    name: str
    run: Callable[[int], Awaitable[tuple[Cost, list[Row]]]]
    """With how many events: what it cost, and what it counted. 0: it starts over an empty topic, and ends."""


async def stream(*, events: int, rounds: int, seed: int, say: Say) -> SuiteReport:
    """*Raises* `StackError` where a contestant fails."""
    sales = drawn(events, seed)
    expected = digest(sales.rows())
    taken: dict[str, list[Measured]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="dataforge-bench-") as folder,
        Stack.start(Path(folder), [DOMAIN], services=(), servers=("kafka", "valkey", "s3proxy"), tied=True) as stack,
    ):
        reach = stack.endpoints()
        await _fill(reach, sales)
        contestants = [ours(reach, sales), bare(reach)]
        for number, contestant in product(range(1, rounds + 1), contestants):
            start, _ = await contestant.run(0)
            whole, rows = await contestant.run(events)
            measured = Measured(whole.cpu_s - start.cpu_s, whole.wall_s - start.wall_s, whole.peak_mib, digest(rows))
            taken.setdefault(contestant.name, []).append(measured)
            say(f"round {number}: {contestant.name} {events / measured.cpu_s:,.0f} events per CPU-second")
    return report("stream", events, expected, taken)


async def _fill(reach: Endpoints, sales: Sales) -> None:
    await ensure_topics(reach.kafka, [TopicSpec(EMPTY, PARTITIONS)])
    producer, now_ms = BatchProducer(reach.kafka), time.time_ns() // 1_000_000
    await producer.start()
    try:
        for partition in range(PARTITIONS):
            await producer.send(TOPIC, partition, sales.judged(partition, now_ms))
    finally:
        await producer.stop()


# ---- contestants


def bare(reach: Endpoints) -> Contestant:
    script = BENCH / "contestants" / "bare.py"

    async def run(events: int) -> tuple[Cost, list[Row]]:
        topic = TOPIC if events else EMPTY
        command = [sys.executable, str(script), reach.kafka, topic, str(PARTITIONS), str(events)]
        cost = await cost_of(command, os.environ)
        return cost, msgspec.json.decode(cost.said.splitlines()[-1], type=list[Row])

    return Contestant("bare_aiokafka", run)


def ours(reach: Endpoints, sales: Sales) -> Contestant:
    """`python -m aggregator`, from an empty state."""
    state, ports = Redis.from_url(reach.redis_url), PortClaims()
    ends = {partition: len(sales.in_partition(partition)) for partition in range(PARTITIONS)}

    async def run(events: int) -> tuple[Cost, list[Row]]:
        await state.flushdb()
        admin = ports.claim({"admin": 0})["admin"]
        env = {**os.environ, **reach.service_env([str(DOMAIN)]), "DATAFORGE_ADMIN_PORT": str(admin)}
        env |= {"DATAFORGE_LOG_LEVEL": "WARNING"}
        kpis = RedisState(reach.redis_url)
        try:
            done = (lambda: _counted(kpis, ends)) if events else (lambda: _ready(admin))
            cost = await cost_of([sys.executable, "-m", "aggregator"], env, done)
            rows = await _rows(kpis)
        finally:
            await kpis.close()
            ports.release()
        return cost, rows

    return Contestant(OURS, run)


async def _ready(admin: int) -> bool:
    try:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"http://127.0.0.1:{admin}/readyz")).is_success
    except httpx.HTTPError:
        return False


async def _counted(kpis: RedisState, ends: Mapping[int, int]) -> bool:
    return all([(await kpis.head(EVENT, partition)).next >= end for partition, end in ends.items()])


async def _rows(kpis: RedisState) -> list[Row]:
    """As a reader sees them: merged over partitions."""
    catalogue = Catalogue(load_domains([DOMAIN]))
    cells: dict[tuple[str, str, int], list[int]] = {}
    for dimension, metric in product(("store", "category"), ("revenue", "units", "sales", "largest")):
        selection = catalogue.select(metric=metric, by=(dimension,))
        merged: dict[tuple[str, int], list[list[object]]] = {}
        for partition in range(PARTITIONS):
            read = await kpis.read(EVENT, partition, selection.view.table.id, WINDOW_MS, 0, _FOREVER_MS)
            for start, labels in read.windows.items():
                for label, row in labels.items():
                    merged.setdefault((label, start), []).append(row)
        for (label, start), stored in merged.items():
            value, _ = value_of(selection.view, stored)
            cells.setdefault((dimension, label[2:-2], start), []).append(value)
    return [(*key, values) for key, values in cells.items()]
