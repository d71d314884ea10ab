"""Valkey killed, and the end of its append-only file lost: what the death of a machine does under `everysec`."""

import asyncio
import random
import time
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from devstack.chaos.fault import Evidence, NotInForce, Stage
from devstack.chaos.faults.processes import hold_down, running
from devstack.chaos.proxy.conditions import Refuse

_BACK_S = 30.0
_COMMITS_S = 0.5
_END_OF_COMMIT = b"\r\nEXEC\r\n"
"""A function's writes are one transaction in the file; half of one is dropped when the file is loaded."""


class LostTail:
    """`least_bytes` of the file are cut off, and as many more as it takes to lose one commit.

    *Guarantees*: in force means that the state has gone back: positions are compared before anybody writes again.
    """

    kind, victim = "redis_tail", "valkey"

    def __init__(self, least_bytes: int) -> None:
        self._least_bytes = least_bytes
        self.evidence: Evidence = {}
        self._refused: int | None = None

    async def inject(self, stage: Stage) -> None:
        running(stage, self.victim)
        earlier = await positions(stage.direct.redis_url)
        await asyncio.sleep(_COMMITS_S)
        if await positions(stage.direct.redis_url) == earlier:
            raise NotInForce("nobody commits at this moment")  # and killing it again would not help them to
        proxy = stage.proxies["valkey"]
        self._refused = await proxy.impose(Refuse())
        await proxy.drop_all()
        before = await positions(stage.direct.redis_url)
        killed = await hold_down(stage, [self.victim])
        folder = stage.stack.paths.of(self.victim) / "appendonlydir"
        lost = await asyncio.to_thread(cut_tail, folder, self._least_bytes)
        stage.stack.release(self.victim)
        after = await positions(stage.direct.redis_url)
        await self.heal(stage)
        back = sum(position - after.get(key, 0) for key, position in before.items())
        self.evidence |= {
            "pids": killed,
            "cut_bytes": len(lost),
            "commits_lost": lost.count(_END_OF_COMMIT),
            "records_rolled_back": back,
        }
        if not back:
            raise NotInForce("no commit was in the part of the append-only file that was cut off")

    async def heal(self, stage: Stage) -> None:
        stage.stack.release(self.victim)
        refused, self._refused = self._refused, None
        if refused is not None:
            await stage.proxies["valkey"].lift(refused)


def cut_tail(folder: Path, least_bytes: int) -> bytes:
    """Shorten the newest part of an append-only file; returns what is gone. Nothing where nothing was appended."""
    parts = sorted(folder.glob("*.incr.aof"), key=lambda part: int(part.name.split(".")[-3]))
    if not parts:
        return b""
    with parts[-1].open("r+b") as tail:
        content = tail.read()
        end_of_last = content.rfind(_END_OF_COMMIT)
        keep = max(0, min(len(content) - least_bytes, end_of_last))
        tail.truncate(keep)
    return content[keep:]


async def positions(redis_url: str) -> dict[bytes, int]:
    """Key of a partition's state -> its judged position. Waits until the server has loaded its data."""
    deadline = time.monotonic() + _BACK_S
    while True:
        try:
            async with Redis.from_url(redis_url, socket_timeout=5) as valkey:
                keys = [key async for key in valkey.scan_iter(match="df:{*}:meta", count=1_000)]
                found = [await valkey.execute_command("HGET", key, "position") for key in keys]
            return {key: int(position or 0) for key, position in zip(keys, found, strict=True)}
        except (RedisError, OSError) as error:
            if time.monotonic() > deadline:
                raise NotInForce(f"Valkey did not answer for {_BACK_S:.0f} s: {error}") from error
            await asyncio.sleep(0.02)


def draw(chosen: random.Random) -> LostTail:
    return LostTail(round(2 ** chosen.uniform(14, 20)))
