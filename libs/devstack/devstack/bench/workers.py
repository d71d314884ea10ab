"""The quality and landing suites: a worker as it is deployed, beside a loop that only moves the same bytes.

In each round both work on a log of that round: nobody finds what another, or the round before, has done.
"""

import asyncio
import io
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pyarrow.parquet as pq

from dataforge.stream.topics import TopicSpec, ensure_topics

from devstack import topics
from devstack.bench.contest import OURS, Measured, SuiteReport, report
from devstack.bench.deployed import CONTESTANTS, NOTHING, Deployed, sales_as, servers
from devstack.bench.logs import Follower, digest_of, fill, found_valid, values_of
from devstack.bench.process import Cost, cost_of
from devstack.bench.sales import PARTITIONS, Sales, drawn
from devstack.bench.turns import Say, in_turns, net
from devstack.model import Endpoints
from devstack.oracle.landed import Bucket, Landing

_LOOK_S = 0.1


class _Arena:
    """A running stack, and a raw log of the sales for each round."""

    def __init__(self, reach: Endpoints, scratch: Path, sales: Sales) -> None:
        self.reach, self.sales, self._scratch = reach, sales, scratch
        self._rounds: dict[int, Path] = {}
        self.expected = digest_of((value for _, value, _ in sales.raw(partition)) for partition in range(PARTITIONS))

    async def nothing(self) -> Path:
        """The domain of an event that nobody sends."""
        domain = sales_as(NOTHING, self._scratch)
        await topics.ensure(self.reach.kafka, topics.of_domains([str(domain)]))
        return domain

    async def domain(self, number: int) -> Path:
        """Of a round, its raw log filled."""
        if number not in self._rounds:
            domain = self._rounds[number] = sales_as(f"round{number}", self._scratch)
            await topics.ensure(self.reach.kafka, topics.of_domains([str(domain)]))
            await fill(self.reach.kafka, raw(number), self.sales.raw)
        return self._rounds[number]

    async def script(self, file: str, *arguments: str) -> Cost:
        env = {**os.environ, **self.reach.service_env([]), "PYTHONPATH": str(CONTESTANTS)}
        command = [sys.executable, str(CONTESTANTS / file), self.reach.kafka, *arguments]
        return await cost_of(command, env)


def raw(number: int | None = None) -> str:
    return f"raw.sales.{NOTHING if number is None else f'round{number}'}.v1"


@asynccontextmanager
async def _arena(events: int, seed: int) -> AsyncIterator[_Arena]:
    with servers() as (reach, folder):
        arena = _Arena(reach, folder, drawn(events, seed))
        await arena.nothing()
        yield arena


async def quality(*, events: int, rounds: int, seed: int, names: Sequence[str], say: Say) -> SuiteReport:
    """*Raises* `StackError` where one of them fails."""
    async with _arena(events, seed) as arena:
        kafka, worker = arena.reach.kafka, Deployed("quality_worker", arena.reach)

        async def judging(number: int) -> Measured:
            domain, judged = await arena.domain(number), f"judged.sales.round{number}.v1"
            start = await worker.run(await arena.nothing())
            async with Follower(kafka, judged, events) as log:
                whole = await worker.run(domain, log.full)
            return net(start, whole, events, digest_of(await values_of(kafka, judged, found_valid)), arena.expected)

        async def copying(number: int) -> Measured:
            await arena.domain(number)
            copies = f"copies.round{number}.v1"
            await ensure_topics(kafka, [TopicSpec(copies, PARTITIONS)])
            start = await arena.script("copying.py", raw(), copies, str(PARTITIONS), "0")
            whole = await arena.script("copying.py", raw(number), copies, str(PARTITIONS), str(events))
            return net(start, whole, events, digest_of(await values_of(kafka, copies)), arena.expected)

        turns = {OURS: judging} | {name: {"bare_copy": copying}[name] for name in names}
        return report("quality", await in_turns(turns, rounds, say))


async def landing(*, events: int, rounds: int, seed: int, names: Sequence[str], say: Say) -> SuiteReport:
    """*Raises* `StackError` where one of them fails."""
    async with _arena(events, seed) as arena:
        bucket, worker = Bucket.of(arena.reach), Deployed("landing_worker", arena.reach)

        async def landed(number: int) -> Measured:
            domain = await arena.domain(number)
            start = await worker.run(await arena.nothing())
            async with Landing(bucket, raw(number)).following() as ends:
                whole = await worker.run(domain, _reached(ends, events))
            return net(start, whole, events, digest_of(await _values(bucket, f"landing/{raw(number)}")), arena.expected)

        async def putting(number: int) -> Measured:
            await arena.domain(number)
            start = await arena.script("put.py", raw(), str(PARTITIONS), "0")
            whole = await arena.script("put.py", raw(number), str(PARTITIONS), str(events))
            return net(start, whole, events, digest_of(await stored(bucket, f"put/{raw(number)}")), arena.expected)

        turns = {OURS: landed} | {name: {"raw_put": putting}[name] for name in names}
        return report("landing", await in_turns(turns, rounds, say))


def _reached(ends: Callable[[int], Awaitable[dict[int, int]]], events: int) -> Callable[[], Awaitable[bool]]:
    async def reached() -> bool:
        await asyncio.sleep(_LOOK_S)
        return sum((await ends(PARTITIONS)).values()) >= events

    return reached


async def stored(bucket: Bucket, folder: str) -> list[list[bytes]]:
    """Partition by partition, the objects of a folder in the order of their names."""
    found: list[list[bytes]] = []
    async with bucket.client() as s3:
        for partition in range(PARTITIONS):
            prefix = f"{folder}/{partition}/"
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, Prefix=prefix)
            keys = sorted([item["Key"] async for page in pages for item in page.get("Contents", [])])
            found.append([await bucket.get(s3, key) for key in keys])
    return found


async def _values(bucket: Bucket, folder: str) -> list[list[bytes]]:
    """Partition by partition, what the landing objects hold."""

    def values(body: bytes) -> list[bytes]:
        return pq.read_table(io.BytesIO(body), columns=["value"])["value"].to_pylist()

    return [[value for body in bodies for value in values(body)] for bodies in await stored(bucket, folder)]
