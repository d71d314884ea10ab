"""The in-memory twin of `S3Store`, with the ways in which a PUT can go wrong."""

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
        fate = self.fates.pop(0) if self.fates else "ok"
        if fate == "late":
            self._late.append((key, data))
        if fate in ("late", "lost"):
            raise Transient(f"put of {key}: {fate}")
        created = self.objects.setdefault(key, data) is data
        if fate == "unacknowledged":
            raise Transient(f"put of {key}: {fate}")
        return created

    def deliver(self) -> None:
        """The late puts arrive now."""
        for key, data in self._late:
            self.objects.setdefault(key, data)
        self._late = []

    async def get(self, key: str) -> bytes:
        return self.objects[key]

    async def tail(self, key: str, size: int) -> bytes:
        return self.objects[key][-size:]

    async def list(self, prefix: str, start_after: str = "") -> AsyncIterator[str]:
        for key in sorted(self.objects):
            if key.startswith(prefix) and key > start_after:
                yield key
