"""The ws suites: ws-gateway pushes what changed to many clients, beside servers that only broadcast a frame.

All clients watch the same metric, and every commit changes some of its rows. An event is one frame sent to one client.
"""

import asyncio
import resource
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from redis.asyncio import Redis

from dataforge.contracts.load import load_domains
from dataforge.kpi.instants import parse_instant
from dataforge.state.redis import RedisState
from dataforge.testing.kpis import KpiWriter

from devstack.bench.answers import digest
from devstack.bench.contest import OURS, Measured, SuiteReport, report
from devstack.bench.crowd import Crowd, Heard
from devstack.bench.deployed import CONTESTANTS, SALES, Deployed, servers
from devstack.bench.process import Cost, cost_of
from devstack.bench.sales import WINDOW_MS, Row
from devstack.bench.turns import Say, Turn, in_turns, net
from devstack.latency import percentile
from devstack.model import Endpoints
from devstack.oracle.live import Screen
from devstack.ports import PortClaims

PUSHING = {"picows": "broadcasting_picows.py", "uvicorn": "broadcasting_uvicorn.py"}
"""Who stands beside us, and their scripts."""
IDLE, KIB_OF_IDLE, STALLED = "idle connections", "KiB of an idle connection", "p99, a tenth stalled, by p99"
"""Figures that have a goal."""
_BEGIN_MS = 1_767_225_600_000
_REST_S_PER_CLIENT = 40e-6
"""Between commits, so that each is a frame of its own: the gateway rests three times as long as a frame takes."""
_IDLE_CLIENTS, _SPARE_FILES = 15_000, 500
_FEW, _MANY = 4, 400
"""Rows of a delta: about half a kilobyte, and enough to fill what the kernel holds for a client that does not read."""
_SLOW_COMMITS = 20


@dataclass(frozen=True)
class Commits:
    """What is counted while the clients watch."""

    commits: int
    interval_s: float
    seed: int
    rows: int = _FEW
    at_s: dict[int, float] = field(default_factory=dict[int, float])
    """Raw `next` of each -> when it was begun."""

    @property
    def last(self) -> str:
        """What only the frame that covers all of them holds."""
        return f'"next":{{"0":{self.commits * self.rows},' if self.commits else ""

    def sales(self) -> Iterator[list[dict[str, int | str]]]:
        chosen = np.random.default_rng(self.seed)
        for number in range(self.commits):
            at = _BEGIN_MS + number * WINDOW_MS // 10
            amounts = chosen.integers(50, 20_000, self.rows).tolist()
            yield [
                {"at": at, "store": 1, "category": f"category {n:03d}", "amount": amount, "quantity": 1}
                for n, amount in enumerate(amounts)
            ]

    def expected(self) -> Iterator[Row]:
        counted = Counter[tuple[str, int]]()
        for sales in self.sales():
            for sale in sales:
                counted[str(sale["category"]), int(sale["at"]) // WINDOW_MS * WINDOW_MS] += int(sale["amount"])
        return (("category", category, start, [amount]) for (category, start), amount in counted.items())

    async def write(self, state: RedisState) -> None:
        [domain] = load_domains([SALES])
        writer = KpiWriter(state, domain, 0)
        await writer.open()
        for sales in self.sales():
            await asyncio.sleep(self.interval_s)
            began_s = time.monotonic()
            await writer.write(sales)
            self.at_s[writer.next] = began_s

    def latencies_ms(self, heard: Heard) -> list[float]:
        """From the newest commit that a frame covers to each client that it came to."""
        found: list[float] = []
        for frame, times in heard.frames:
            began_s = self.at_s[msgspec.json.decode(frame, type=_Frame).next["0"]]
            found += [(at_s - began_s) * 1000 for at_s in times]
        return found


class _Frame(msgspec.Struct):
    next: dict[str, int]


class _Gateway:
    """ws-gateway as it is deployed, over an empty state each time."""

    def __init__(self, reach: Endpoints, port: int) -> None:
        self._reach, self._port, self._server = reach, port, Deployed("ws_gateway", reach)

    def crowd(self, clients: int, stalled: int = 0) -> Crowd:
        auth = {"type": "auth", "token": self._reach.api_token}
        subscribe = {"type": "subscribe", "id": 1, "metric": "revenue", "by": ["category"], "limit": 1_000}
        messages = [msgspec.json.encode(message).decode() for message in (auth, subscribe)]
        return Crowd(clients, stalled, first=3, messages=messages)

    async def run(self, crowd: Crowd, commits: Commits) -> tuple[Cost, Heard]:
        redis = Redis.from_url(self._reach.redis_url)
        await redis.flushdb()
        await redis.aclose()
        heard: list[Heard] = []

        async def watched() -> bool:
            if not await self._server.ready():
                return False
            state = RedisState(self._reach.redis_url)
            try:
                async with crowd.at(self._port, commits.last) as listening:
                    await commits.write(state)
                    heard.append(await listening.heard())
            finally:
                await state.close()
            return True

        env = {
            "DATAFORGE_PORT": str(self._port),
            "DATAFORGE_MAX_CLIENTS": str(crowd.clients),
            "DATAFORGE_HEARTBEAT_S": "3600",  # the suite counts deltas
            "DATAFORGE_SLOW_CLIENT_S": "3600",  # who stalls does so to the end
        }
        cost = await self._server.run(SALES, watched, env)
        return cost, heard[0]


async def ws(
    *, events: int, rounds: int, seed: int, names: Sequence[str], say: Say, clients: int, stalls: bool
) -> SuiteReport:
    """`events` are commits. *Raises* `StackError` where one of them fails."""
    _raise_file_limit()
    with servers() as (reach, folder):
        claims, same = PortClaims(), folder / "frame.json"
        port = claims.claim({"ws": 0})["ws"]
        gateway = _Gateway(reach, port)
        interval_s = max(0.03, clients * _REST_S_PER_CLIENT)

        async def pushing(number: int) -> Measured:
            commits = Commits(events, interval_s, seed + number)
            crowd = gateway.crowd(clients)
            start, _ = await gateway.run(crowd, Commits(0, interval_s, seed))
            whole, heard = await gateway.run(crowd, commits)
            same.write_text(heard.frames[-1][0])
            answer, expected = (f"1 tale, {digest(rows)}" for rows in (_rows(heard), commits.expected()))
            if heard.tales != 1:
                answer = f"{heard.tales} tales"
            return net(start, whole, heard.delivered, answer, expected)

        turns: dict[str, Turn] = {OURS: pushing} | {
            name: _broadcasting(CONTESTANTS / PUSHING[name], port, clients, events, interval_s, same) for name in names
        }
        try:
            found = report("ws", await in_turns(turns, rounds, say))
            figures = await (_stalled(gateway, clients, seed) if stalls else _idle(gateway))
        finally:
            claims.release()
    return msgspec.structs.replace(found, figures=figures)


def _broadcasting(script: Path, port: int, clients: int, frames: int, interval_s: float, same: Path) -> Turn:
    async def run(frames: int) -> tuple[Cost, Heard]:
        command = [sys.executable, str(script), *map(str, (port, clients, frames, round(interval_s * 1000), same))]
        heard: list[Heard] = []
        last = f"#{frames:06d} " if frames else ""
        cost = await cost_of(command, {}, _once(Crowd(clients), port, last, heard))
        return cost, heard[0]

    async def turn(_: int) -> Measured:
        start = (await run(0))[0]
        whole, heard = await run(frames)
        answer = f"{heard.tales} tale, {len(heard.frames)} frames"
        return net(start, whole, heard.delivered, answer, f"1 tale, {frames} frames")

    return turn


def _once(crowd: Crowd, port: int, last: str, heard: list[Heard]) -> Callable[[], Awaitable[bool]]:
    """The crowd comes as soon as somebody listens, and is heard."""

    async def done() -> bool:
        try:
            async with crowd.at(port, last) as listening:
                heard.append(await listening.heard())
        except ConnectionError:
            return False
        return True

    return done


async def _idle(gateway: _Gateway) -> dict[str, float]:
    """What a client costs that watches while nothing happens."""
    nothing = Commits(0, 0, 0)
    most = min(_IDLE_CLIENTS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_FILES)
    few, many = [(await gateway.run(gateway.crowd(clients), nothing))[0] for clients in (1, most)]
    return {IDLE: most, KIB_OF_IDLE: (many.peak_mib - few.peak_mib) * 1024 / (most - 1)}


async def _stalled(gateway: _Gateway, clients: int, seed: int) -> dict[str, float]:
    """What others notice of a tenth that does not read."""
    p99_ms: list[float] = []
    for stalled in (0, clients // 10):
        commits = Commits(_SLOW_COMMITS, 2.5 * _MANY * clients * 1e-6, seed, rows=_MANY)
        _, heard = await gateway.run(gateway.crowd(clients, stalled), commits)
        p99_ms.append(percentile(commits.latencies_ms(heard), 0.99))
    healthy, beside = p99_ms
    return {"p99 ms": healthy, "p99 ms, a tenth stalled": beside, STALLED: beside / healthy}


def _rows(heard: Heard) -> Iterator[Row]:
    screen = Screen()
    for frame in (heard.snapshot, *(frame for frame, _ in heard.frames)):
        screen.apply(msgspec.json.decode(frame))
    for row in screen.rows.values():
        yield "category", row["labels"]["category"], parse_instant(row["start"]), [row["value"]]


def _raise_file_limit() -> None:
    """Every client is a file, here and in the server."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
