"""What Redis holds, read by its keys (docs/specs/state.md) and nothing of ours in between."""

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any, Self, cast

import msgspec
import pyarrow as pa
from redis.asyncio import Redis

LEDGER = pa.schema(
    [
        ("partition", pa.int32()),
        ("minute_ms", pa.int64()),
        ("outcome", pa.string()),
        ("reason", pa.string()),
        ("records", pa.int64()),
    ]
)
_ASK_S = 3.0
_OUTCOMES = ("counted", "duplicate", "late")
_REJECTED = ("quarantined", "undecodable")


class State:
    """The aggregator's state of one event type."""

    def __init__(self, url: str, event: str, partitions: int) -> None:
        self._redis = Redis.from_url(url, socket_timeout=_ASK_S, socket_connect_timeout=_ASK_S)
        self._keys = {p: f"df:{{{event}/{p}}}" for p in range(partitions)}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._redis.aclose()

    async def next(self) -> dict[int, int]:
        """Partition -> raw offset before which every record has its outcome. *Raises* RedisError."""
        answers = await asyncio.gather(*(self._hash("hget", f"{key}:meta", "next") for key in self._keys.values()))
        return {p: int(found or 0) for p, found in zip(self._keys, answers, strict=True)}

    async def ledger(self) -> pa.Table:
        """*Shape*: one row per partition, minute, outcome and reason. *Raises* RedisError."""
        rows: list[tuple[Any, ...]] = []
        for partition, key in self._keys.items():
            for minute, packed in (await self._hash("hgetall", f"{key}:ledger")).items():
                rows += [(partition, int(minute), *row) for row in _outcomes(msgspec.msgpack.decode(packed))]
        return pa.Table.from_pylist([dict(zip(LEDGER.names, row, strict=True)) for row in rows], LEDGER)

    async def _hash(self, command: str, *args: str) -> Any:
        return await cast("Awaitable[Any]", getattr(self._redis, command)(*args))


def _outcomes(entry: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    for name in _OUTCOMES:
        if entry.get(name):
            yield name, "", entry[name]
    for verdict in _REJECTED:
        for reason, count in entry.get(verdict, {}).items():
            yield verdict, reason, count
