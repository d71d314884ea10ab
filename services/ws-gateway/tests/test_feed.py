"""The follower hands on every commit once and in order, or says that it could not."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from dataforge.errors import Transient
from dataforge.state.memory import MemoryState
from dataforge.state.model import FeedEntry
from dataforge.state.store import Named
from dataforge.testing.kpis import KpiWriter, sale, sample_domain

from ws_gateway.feed import Follower

DOMAIN = sample_domain(partitions=1)
NAMED = (DOMAIN.events[0].contract.name, 0)


class Heard:
    def __init__(self) -> None:
        self.commits: list[list[str]] = []
        self.breaks = 0
        self.heads: list[str] = []
        self._news = asyncio.Event()

    def committed(self, named: Named, commit: Sequence[FeedEntry]) -> None:
        self.commits.append([entry.id for entry in commit])
        self._news.set()

    def broken(self, named: Named) -> None:
        self.breaks += 1
        self._news.set()

    def head(self, named: Named, cursor: str) -> None:
        self.heads.append(cursor)
        self._news.set()

    def settled(self) -> None:
        pass

    async def until(self, commits: int, breaks: int) -> None:
        async with asyncio.timeout(5):
            while len(self.commits) < commits or self.breaks < breaks:
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def following(state: MemoryState) -> AsyncIterator[Heard]:
    heard = Heard()
    task = asyncio.create_task(Follower(state, [NAMED], heard, check_after_s=0.05).run())
    await heard.until(0, 1)
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_commits_come_whole_and_in_order():
    state = MemoryState()
    writer = KpiWriter(state, DOMAIN, 0)
    await writer.open()
    async with following(state) as heard:
        await writer.write([sale(60_000)], entries=3)
        await writer.write([sale(60_000)])
        await heard.until(2, 1)
        assert heard.commits == [["1-0", "1-1", "1-2"], ["2-0"]]
        assert heard.breaks == 1


async def test_a_trimmed_feed_is_broken_once_and_goes_on():
    state = MemoryState(feed_cap=2)
    writer = KpiWriter(state, DOMAIN, 0)
    await writer.open()
    async with following(state) as heard:
        for _ in range(5):  # without a pause: the follower wakes when three are trimmed
            await writer.write([sale(60_000)])
        await heard.until(0, 2)
        await writer.write([sale(60_000)])
        await heard.until(1, 2)
        assert heard.commits == [["6-0"]]


async def test_a_store_that_rolled_back_and_is_silent_is_noticed():
    state = MemoryState()
    writer = KpiWriter(state, DOMAIN, 0)
    await writer.open()
    await writer.write([sale(60_000)])
    earlier = state.snapshot()
    async with following(state) as heard:
        await writer.write([sale(60_000)])
        await heard.until(1, 1)
        state.roll_back(earlier)
        await heard.until(1, 2)


async def test_another_claim_at_the_same_place_is_another_history():
    state = MemoryState()
    first, second = KpiWriter(state, DOMAIN, 0), KpiWriter(state, DOMAIN, 0)
    await first.open("a")
    empty = state.snapshot()
    async with following(state) as heard:
        await first.write([sale(60_000)])
        await heard.until(1, 1)
        state.roll_back(empty)
        await second.open("b")
        await second.write([sale(60_000, cents=999)])
        await heard.until(1, 2)


async def test_a_store_that_is_away_is_named_and_waited_for():
    class Flaky(MemoryState):
        away = True

        async def head(self, name: str, partition: int):
            if self.away:
                raise Transient("refused")
            return await super().head(name, partition)

    state = Flaky()
    heard = Heard()
    follower = Follower(state, [NAMED], heard, check_after_s=0.05)
    task = asyncio.create_task(follower.run())
    async with asyncio.timeout(5):
        while follower.problem is None or "refused" not in follower.problem:
            await asyncio.sleep(0)
        state.away = False
        await heard.until(0, 1)
        while follower.problem is not None:
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
