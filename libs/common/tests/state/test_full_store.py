"""A real server without memory left: what makes room for itself goes through, the rest is refused as a whole."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from redis.asyncio import Redis

from dataforge.errors import Superseded, Transient
from dataforge.state.model import Commit, Settlement, window_key
from dataforge.state.redis import RedisState

pytestmark = [pytest.mark.integration, pytest.mark.core]
encode = msgspec.msgpack.encode
PAYLOAD = encode({"next": 0, "watermark": 0, "position": 0, "rows": {}, "gone": []})
OLD, NEW = window_key("t", 10, 0), window_key("t", 10, 10)


@pytest.fixture
async def state(redis_url: str) -> AsyncIterator[RedisState]:
    state = RedisState(redis_url)
    yield state
    await state.close()


@asynccontextmanager
async def full(redis_url: str) -> AsyncIterator[None]:
    """While inside, the server has used more than it may."""
    async with Redis.from_url(redis_url) as client:
        before = (await client.config_get("maxmemory")).get("maxmemory", 0)
        try:
            await client.config_set("maxmemory", 1)
            yield
        finally:
            await client.config_set("maxmemory", str(before))


def step(previous: int, position: int, rows: int = 0, claim: str = "one", **fields: Any) -> Commit:
    changed = {str(n): encode([0, n]) for n in range(rows)}
    return Commit(
        claim,
        previous,
        position,
        {"next": str(position), "watermark": str(position)},
        windows={NEW: changed} if changed else {},
        ends={NEW: 20},
        **{"feed": (PAYLOAD,), **fields},
    )


async def begin(state: RedisState) -> str:
    """A partition at position 1 with a window, remembered ids and a ledger minute, each a thousand entries large."""
    name = f"test.{uuid4().hex}.v1"
    await state.claim(name, 0, "one")
    rows = {str(n): encode([0, n]) for n in range(1_000)}
    ids = {"60:1": encode([str(n) for n in range(1_000)])}
    ledger = {60: encode({"reason": dict.fromkeys(map(str, range(1_000)), 1)})}
    meta = {"next": "1", "watermark": "1"}
    await state.commit(name, 0, Commit("one", 0, 1, meta, {OLD: rows}, {OLD: 10}, ids=ids, ledger=ledger))
    return name


@pytest.mark.parametrize("removal", [{"gone": (OLD,)}, {"ids_gone": ("60:1",)}, {"ledger_gone": (60,)}])
async def test_a_commit_that_frees_more_than_it_brings_goes_through(
    state: RedisState, redis_url: str, removal: dict[str, Any]
) -> None:
    name = await begin(state)
    async with full(redis_url):
        with pytest.raises(Transient, match="out of memory"):
            await state.commit(name, 0, step(1, 2, rows=10))
        await state.commit(name, 0, step(1, 2, rows=10, **removal))
        head = await state.head(name, 0)
        assert (head.position, head.next, head.cursor) == (2, 2, "2-0 one")
        loaded = await state.load(name, 0, 0)
        assert (OLD in loaded.expiries, "60:1" in loaded.ids, 60 in loaded.ledger) == (
            "gone" not in removal,
            "ids_gone" not in removal,
            "ledger_gone" not in removal,
        )


async def test_a_commit_that_brings_more_than_it_frees_is_refused_whole(state: RedisState, redis_url: str) -> None:
    name = await begin(state)
    before = await state.load(name, 0, 0)
    async with full(redis_url):
        with pytest.raises(Transient, match="out of memory"):
            await state.commit(name, 0, step(1, 2, rows=50_000, gone=(OLD,)))
        assert await state.load(name, 0, 0) == before
    await state.commit(name, 0, step(1, 2, rows=50_000, gone=(OLD,)))
    assert set((await state.read(name, 0, "t", 10, 0, 100)).windows) == {10}


async def test_whoever_takes_a_partition_of_a_full_store_can_go_on(state: RedisState, redis_url: str) -> None:
    name = await begin(state)
    async with full(redis_url):
        await state.claim(name, 0, "two")
        with pytest.raises(Superseded):
            await state.commit(name, 0, step(1, 2, gone=(OLD,)))
        await state.commit(name, 0, step(1, 2, claim="two", gone=(OLD,)))
        with pytest.raises(Transient, match="out of memory"):
            await state.settle(name, 0, Settlement("two", 2, 99, PAYLOAD))


async def test_the_older_half_of_the_feed_makes_room(state: RedisState, redis_url: str) -> None:
    """So log time goes on where nothing has expired yet, and with it what does expire."""
    name, large = await begin(state), (encode(msgspec.msgpack.decode(PAYLOAD) | {"trace": ["x" * 2_000]}),)
    for n in range(1, 65):
        await state.commit(name, 0, step(n, n + 1, rows=10, feed=large))
    async with full(redis_url):
        for n in range(65, 80):
            await state.commit(name, 0, step(n, n + 1, rows=10, feed=large))
        [(_, entries)] = await state.feed({(name, 0): "0-0"}, 1)
        assert len(entries) < 5, "halved by each commit, for this server stays full"
        assert (await state.head(name, 0)).cursor == entries[-1].cursor == "80-0 one", "the newest is always there"
        assert [e.prev for e in entries[1:]] == [e.cursor for e in entries[:-1]]
        with pytest.raises(Transient, match="out of memory"):
            await state.commit(name, 0, step(80, 81, rows=50_000))
    await state.commit(name, 0, step(80, 81, rows=50_000))
