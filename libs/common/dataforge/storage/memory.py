"""The in-memory twin of `S3Store`, with the ways in which a PUT can go wrong."""

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

from dataforge.errors import Transient

Fate = Literal["ok", "lost", "unacknowledged", "late"]


class MemoryStore:
    """`fates` says what happens to the next puts; empty means `ok`. A late put arrives at `deliver`."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.fates: list[Fate] = []
        self._late: list[tuple[str, bytes]] = []

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        await asyncio.sleep(0)  # as over a network: others run in between
        fate = self.fates.pop(0) if self.fates else "ok"
        if fate == "late":
            self._late.append((key, data))
        if fate in ("late", "lost"):
            raise Transient(f"put of {key}: {fate}", retry_after_s=0.001)
        created = key not in self.objects
        self.objects.setdefault(key, data)
        if fate == "unacknowledged":
            raise Transient(f"put of {key}: {fate}", retry_after_s=0.001)
        return created

    def deliver(self) -> None:
        """The late puts arrive now."""
        for key, data in self._late:
            self.objects.setdefault(key, data)
        self._late = []

    async def get(self, key: str) -> bytes:
        await asyncio.sleep(0)
        return self.objects[key]

    async def tail(self, key: str, size: int) -> bytes:
        await asyncio.sleep(0)
        return self.objects[key][-size:]

    async def list(self, prefix: str, start_after: str = "") -> AsyncIterator[str]:
        await asyncio.sleep(0)
        for key in sorted(self.objects):
            if key.startswith(prefix) and key > start_after:
                yield key
