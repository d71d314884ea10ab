"""An object store that is opened when it is first asked: for a service that nearly never needs one.

Importing the S3 client and building it is a third of what such a service's start costs.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from dataforge.storage.objects import ObjectStore


class OpenedStore(ObjectStore, Protocol):
    async def close(self) -> None: ...


class LaterStore:
    """*Guarantees*: opened once, whoever asks at the same time; where opening fails, the next to ask tries again."""

    def __init__(self, opened: Callable[[], Awaitable[OpenedStore]]) -> None:
        self._opened, self._opening = opened, asyncio.Lock()
        self._store: OpenedStore | None = None

    async def close(self) -> None:
        if self._store is not None:
            await self._store.close()

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        return await (await self._get()).put_if_absent(key, data)

    async def get(self, key: str) -> bytes:
        return await (await self._get()).get(key)

    async def tail(self, key: str, size: int) -> bytes:
        return await (await self._get()).tail(key, size)

    async def list(self, prefix: str, start_after: str = "") -> AsyncIterator[str]:
        async for key in (await self._get()).list(prefix, start_after):
            yield key

    async def _get(self) -> OpenedStore:
        async with self._opening:
            if self._store is None:
                self._store = await self._opened()
            return self._store
