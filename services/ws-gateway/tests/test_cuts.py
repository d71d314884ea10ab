"""Clients cut again and again while commits come in, the gateway killed in between: real Valkey, real process.

`CUTS=1000` is the long form; by default each client is cut thirty times.
"""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from dataforge.contracts.load import load_domains
from dataforge.kpi.catalogue import Catalogue
from dataforge.state.model import PartitionRead
from dataforge.state.redis import RedisState
from dataforge.testing.kpis import KpiWriter

from devstack.oracle.live import LiveView
from shown_rows import shown_rows
from ws_gateway.place import CORRECTIONS, order_of, token_from

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1_800)]

CUTS = int(os.environ.get("CUTS", "30"))
KILLS = max(3, CUTS // 100)
HELD_BACK = max(2, CUTS // 100)
FEED_CAP = 500
T0 = 1_700_000_000_000 // 60_000 * 60_000
RETAIL = Path(__file__).parents[3] / "domains" / "retail"
TOKEN = "t"
QUESTIONS: list[dict[str, Any]] = [
    {"metric": "revenue", "window": "10s", "by": ["store"], "limit": 6},
    {"metric": "revenue", "window": "10s", "by": ["store"], "limit": 6},
    {"metric": "units", "window": "rolling:5m", "by": [], "limit": 5},
]


def purchase(random: Random, at_ms: int) -> dict[str, Any]:
    """A purchase as the aggregator holds it: money in cents."""
    names = ("household_id", "basket_id", "product_id", "quantity", "retail_disc", "coupon_disc", "coupon_match_disc")
    numbers = {name: random.randrange(1, 50) for name in names}
    return numbers | {
        "at": at_ms,
        "department": "GROCERY",
        "store_id": random.randrange(300, 306),
        "sales_value": random.randrange(1, 10_000),
    }


class Replay:
    """Purchases into all partitions, commit by commit, until told to stop. Event time goes on with every commit."""

    def __init__(self, state: RedisState) -> None:
        [self.domain] = load_domains([RETAIL])
        self.name = self.domain.events[0].contract.name
        self.state = state
        self.writers = [KpiWriter(state, self.domain, p) for p in range(self.domain.partitions)]
        self.random = Random(17)
        self.stopped = False
        self._at_ms = T0
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        for writer in self.writers:
            await writer.open("c" * 32)
        while not self.stopped:
            for writer in self.writers:
                self._at_ms += self.random.randrange(200)
                late_ms = self.random.randrange(30_000)
                events = [purchase(self.random, self._at_ms - late_ms) for _ in range(self.random.randrange(4))]
                async with self._turn:
                    await writer.write(events, entries=1 + len(events) % 2)
            await asyncio.sleep(0.02)

    async def outrun(self, places: dict[int, str]) -> None:
        """Commit without a pause until the feeds no longer tell what came after these places."""
        while await self.tells(places):
            for writer in self.writers:
                async with self._turn:
                    await writer.write([])

    async def tells(self, places: dict[int, str]) -> bool:
        """The feeds hold everything after these places."""
        for p, cursor in places.items():
            after = await self.state.feed_range(self.name, p, cursor.partition(" ")[0], f"{2**62}-0")
            if after and after[0].prev != cursor:
                return False
        return True

    async def reads(self, table: str, size_ms: int) -> list[PartitionRead]:
        return [await self.state.read(self.name, p, table, size_ms, 0, 2**53) for p in range(self.domain.partitions)]


def free_port() -> int:
    """Outside the range that outgoing connections take theirs from: a client that tries it must not meet itself."""
    for port in Random().sample(range(20_000, 32_000), 1_000):
        with suppress(OSError), socket.socket() as one:
            one.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


class GatewayProcess:
    def __init__(self, redis_url: str) -> None:
        port, admin = free_port(), free_port()
        self.url = f"ws://127.0.0.1:{port}"
        self._env = os.environ | {
            "DATAFORGE_HOST": "127.0.0.1",
            "DATAFORGE_PORT": str(port),
            "DATAFORGE_ADMIN_HOST": "127.0.0.1",
            "DATAFORGE_ADMIN_PORT": str(admin),
            "DATAFORGE_REDIS_URL": redis_url,
            "DATAFORGE_DOMAINS": str(RETAIL),
            "DATAFORGE_API_TOKEN": TOKEN,
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(sys.executable, "-m", "ws_gateway", env=self._env)

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[tuple[str, RedisState]]:
    """A database of this test alone."""
    url = urlsplit(redis_url)._replace(path="/11").geturl()
    async with Redis.from_url(url) as redis:
        await redis.flushdb()
    state = RedisState(url, feed_cap=FEED_CAP)
    yield url, state
    await state.close()


@asynccontextmanager
async def replaying(state: RedisState) -> AsyncIterator[Replay]:
    replay = Replay(state)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(replay.run())
        yield replay
        replay.stopped = True


def places_of(view: LiveView) -> dict[int, str]:
    assert view.screen.token is not None
    return {p: at.cursor for p, at in token_from(view.screen.token).at.items() if p != CORRECTIONS}


async def current(view: LiveView) -> None:
    await view.until(lambda: view.current, "it is told what it missed", timeout_s=120)


class Tally:
    resumed = resynced = older = held = 0

    def __str__(self) -> str:
        inside = self.resumed + self.resynced
        return (
            f"{self.resumed} of {inside} reconnects inside the retention resumed; "
            f"{self.older} of {self.older} older ones were told to resync, {self.held} of them held back"
        )


async def cut_again_and_again(view: LiveView, replay: Replay, cuts: int, random: Random, tally: Tally) -> None:
    """Cut at any moment. Whoever is told to resync although the feeds tell everything is counted as `resynced`."""
    for _ in range(cuts):
        await current(view)
        if random.random() < 0.8:
            await asyncio.sleep(random.random() * 0.05)
        held, resumed, resynced = places_of(view), view.resumes, view.resyncs.total()
        view.cut()
        if random.random() < 0.1:
            await asyncio.sleep(random.random() * 0.02)
            view.cut()  # while it comes back
        await current(view)
        tally.resumed += view.resumes - resumed
        if view.resyncs.total() > resynced:
            if await replay.tells(held):
                tally.resynced += 1
            else:
                tally.older += 1


async def test_clients_that_are_cut_end_with_the_servers_windows(store: tuple[str, RedisState]) -> None:
    url, state = store
    gateway, tally = GatewayProcess(url), Tally()
    await gateway.start()
    try:
        async with replaying(state) as replay:
            views = [LiveView(gateway.url, TOKEN, **question) for question in QUESTIONS]
            async with views[0], views[1], views[2]:
                for n in range(KILLS):
                    share = CUTS // KILLS + (n < CUTS % KILLS)
                    await asyncio.gather(
                        *(cut_again_and_again(v, replay, share, Random(f"{n}/{i}"), tally) for i, v in enumerate(views))
                    )
                    await restart(gateway, views, replay, tally)
                for _ in range(HELD_BACK):
                    await hold_back(views, replay, tally)
                replay.stopped = True
                await settled(views, replay)
                print(f"{CUTS} cuts of each of {len(views)} clients, {KILLS} kills of the gateway: {tally}")  # noqa: T201
                await compare(views, replay)
    finally:
        await gateway.kill()
    assert tally.resumed >= 0.9 * (tally.resumed + tally.resynced)
    assert tally.held == HELD_BACK * len(views)
    assert sum(view.cuts for view in views) >= len(views) * CUTS


async def restart(gateway: GatewayProcess, views: list[LiveView], replay: Replay, tally: Tally) -> None:
    """Kill it; every client comes to the new one with its token, and is resumed as far as the feed tells."""
    for view in views:
        await current(view)
    await gateway.kill()
    for view in views:
        await view.until(lambda view=view: not view.current, "it sees the end of the gateway")
    held = [places_of(view) for view in views]
    before = [(view.resumes, view.resyncs.total()) for view in views]
    await gateway.start()
    for view, places, (resumed, resynced) in zip(views, held, before, strict=True):
        await current(view)
        tally.resumed += view.resumes - resumed
        if view.resyncs.total() > resynced:
            if await replay.tells(places):
                tally.resynced += 1
            else:
                tally.older += 1


async def hold_back(views: list[LiveView], replay: Replay, tally: Tally) -> None:
    """All away until the feeds are trimmed beyond what they have: each must be told so.

    All, because a gateway that has kept the channel for somebody else still knows what the feed does not.
    """
    for view in views:
        await current(view)
        view.cut(stay_away=True)
    told = [view.resyncs["trimmed"] for view in views]
    for view in views:
        await replay.outrun(places_of(view))
    for view, before in zip(views, told, strict=True):
        view.come_back()
        await current(view)
        assert view.resyncs["trimmed"] == before + 1
    tally.held += len(views)
    tally.older += len(views)


async def settled(views: list[LiveView], replay: Replay) -> None:
    """Every client covers all that was committed."""
    ends = {p: writer.next for p, writer in enumerate(replay.writers)}
    positions = {p: writer.position for p, writer in enumerate(replay.writers)}

    def reached(view: LiveView) -> bool:
        return view.covers(ends) and all(order_of(at)[0] >= positions[p] for p, at in places_of(view).items())

    for view in views:
        await view.until(lambda view=view: reached(view), f"it covers {ends}")


async def compare(views: list[LiveView], replay: Replay) -> None:
    catalogue = Catalogue([replay.domain])
    for view, question in zip(views, QUESTIONS, strict=True):
        asked = dict(question)
        limit = asked.pop("limit")
        selection = catalogue.select(**asked)
        expected = shown_rows(selection, limit, await replay.reads(selection.view.table.id, selection.step_ms))
        assert expected
        assert view.rows == expected
