"""The guards inside functions.lua, on a real Valkey: each is taken away from the text, and the windows go wrong."""

from collections.abc import AsyncIterator, Awaitable, Callable
from random import randrange
from typing import Any, cast
from zlib import crc32

import pytest

from dataforge.errors import Superseded
from dataforge.state import redis as redis_state
from dataforge.state.memory import MemoryState
from dataforge.state.redis import RedisState
from dataforge.state.store import StateReader, StateWriter
from dataforge.stream.records import RecordBatch, TopicPartition

from aggregator.partition import AggregatorPartition, Pace
from sale_events import SECOND, START, compiled, judged, numbered, sale
from simulation.mutate import Edit, apply

SHOP = compiled()
WINDOWS = (0, 1, 0), (1, 1, 1), (0, 0, 0)
"""Which window the records of each batch are in: the second is the only one to change the other window alone."""
AT = [START + window * 10 * SECOND for windows in WINDOWS for window in windows]
LOG = numbered([judged(n, START + 60 * SECOND + n, sale(f"e{n}", at)) for n, at in enumerate(AT)])
POSITION = "  local position = have[2] or '0'\n"
GUARD = POSITION + "  if have[1] ~= args[1] or position ~= args[2] then\n"

pytestmark = pytest.mark.integration


@pytest.fixture(params=[None, "  if position ~= args[2] then\n", "  if have[1] ~= args[1] then\n"])
def guarded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which guards are left: both, or one of them."""
    if request.param is None:
        return "both"
    edit = Edit("functions.lua", GUARD, POSITION + request.param)
    text = apply(redis_state._TEXT, [edit])
    version = f"{crc32(text.encode()):08x}"
    monkeypatch.setattr(redis_state, "_VERSION", version)
    monkeypatch.setattr(redis_state, "_FUNCTIONS", text.replace("@VERSION@", version))
    return "claim" if "have[1]" in request.param else "previous"


@pytest.fixture
async def state(redis_url: str) -> AsyncIterator[RedisState]:
    found = RedisState(redis_url)
    yield found
    await found.close()


class Server:
    """One partition of it, under a number that nobody else uses."""

    def __init__(self, state: RedisState) -> None:
        self.state = state
        self.tp = TopicPartition(SHOP.event.contract.judged_topic, randrange(1, 2**40))
        self._redis: Any = state._redis

    async def _keys(self) -> list[bytes]:
        return [key async for key in self._redis.scan_iter(f"df:{{{SHOP.name}/{self.tp.partition}}}:*")]

    async def snapshot(self) -> dict[bytes, bytes]:
        return {key: await self._redis.dump(key) for key in await self._keys()}

    async def roll_back(self, snapshot: dict[bytes, bytes]) -> None:
        for key in await self._keys():
            await self._redis.delete(key)
        for key, value in snapshot.items():
            await self._redis.restore(key, 0, value)

    async def owner(self, state: StateWriter | None = None) -> AggregatorPartition:
        worker = AggregatorPartition(self.tp, SHOP, state or self.state, lambda: 0.0, Pace(0.0))
        await worker.open()
        return worker

    def batch(self, start: int, end: int) -> RecordBatch:
        return RecordBatch(*self.tp, start, end, LOG[start:end])

    async def sales(self, store: StateReader | None = None) -> list[Any]:
        table = SHOP.plan.view("sales").table
        read = await (store or self.state).read(SHOP.name, self.tp.partition, table.id, 10 * SECOND, 0, 2**50)
        return sorted((start, label, row) for start, rows in read.windows.items() for label, row in rows.items())

    async def calm(self) -> list[Any]:
        """As it should be."""
        store = MemoryState()
        worker = await self.owner(store)
        await worker.take(self.batch(0, 9))
        return await self.sales(store)


class Between:
    """A client that lets something happen between the two steps of a load."""

    def __init__(self, redis: Any, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._redis, self._meanwhile, self._pipelines = redis, meanwhile, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._redis, name)

    def pipeline(self, **how: Any) -> Any:
        pipe, self._pipelines = self._redis.pipeline(**how), self._pipelines + 1
        if self._pipelines == 2:
            execute = pipe.execute

            async def later() -> Any:
                await self._meanwhile()
                return await execute()

            pipe.execute = later
        return pipe


async def test_a_zombie_commits_between_the_steps_of_a_load_and_that_is_lost(state: RedisState, guarded: str) -> None:
    server = Server(state)
    zombie = await server.owner()
    await zombie.take(server.batch(0, 3))
    before: dict[bytes, bytes] = {}

    async def meanwhile() -> None:
        before.update(await server.snapshot())
        try:
            await zombie.take(server.batch(3, 6))
        except Superseded:
            return

    loading = RedisState("redis://unused")
    await loading.close()
    loading._redis = cast("Any", Between(state._redis, meanwhile))
    owner = await server.owner(loading)
    await server.roll_back(before)
    await owner.take(server.batch(owner.position, 9))
    assert (await server.sales() == await server.calm()) == (guarded != "previous")


async def test_a_store_that_lost_commits_refuses_the_next(state: RedisState, guarded: str) -> None:
    server = Server(state)
    owner = await server.owner()
    await owner.take(server.batch(0, 3))
    before = await server.snapshot()
    await owner.take(server.batch(3, 6))
    await server.roll_back(before)
    try:
        await owner.take(server.batch(6, 9))
    except Superseded:
        owner = await server.owner()
        await owner.take(server.batch(owner.position, 9))
    assert (await server.sales() == await server.calm()) == (guarded != "claim")
