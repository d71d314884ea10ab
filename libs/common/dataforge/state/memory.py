"""The in-memory twin of `RedisState`: same promises, same conformance suite, no server."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from dataforge.errors import Superseded
from dataforge.state.model import Commit, FeedEntry, Loaded, PartitionRead, Settlement, split_window_key
from dataforge.state.store import Named, TooMany

_unpack = msgspec.msgpack.decode
FEED_PAGE = 7
"""Entries of one `feed_range`: few, so that tests see several pages."""


@dataclass
class _Partition:
    claim: str = ""
    position: int = 0
    cursor: str = ""
    meta: dict[str, str] = field(default_factory=dict)
    windows: dict[str, dict[str, bytes]] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    ids: dict[str, bytes] = field(default_factory=dict)
    ledger: dict[int, bytes] = field(default_factory=dict)
    feed: list[FeedEntry] = field(default_factory=list)

    def copy(self) -> "_Partition":
        """Values and entries never change, so only what holds them is copied."""
        return replace(
            self,
            meta=self.meta.copy(),
            windows={key: rows.copy() for key, rows in self.windows.items()},
            ends=self.ends.copy(),
            ids=self.ids.copy(),
            ledger=self.ledger.copy(),
            feed=self.feed.copy(),
        )


class MemoryState:
    """State of all partitions in dicts. `snapshot` and `roll_back` play a server that lost its last second."""

    def __init__(self, *, feed_cap: int = 5_000) -> None:
        self._partitions: dict[Named, _Partition] = {}
        self._feed_cap = feed_cap
        self._changed = asyncio.Event()

    def _at(self, name: str, partition: int) -> _Partition:
        return self._partitions.setdefault((name, partition), _Partition())

    def snapshot(self) -> dict[Named, Any]:
        return {named: p.copy() for named, p in self._partitions.items()}

    def roll_back(self, snapshot: Mapping[Named, Any]) -> None:
        self._partitions = {named: p.copy() for named, p in snapshot.items()}

    # ---- writer
    async def claim(self, name: str, partition: int, token: str) -> None:
        self._at(name, partition).claim = token

    async def owner(self, name: str, partition: int) -> tuple[str, int]:
        p = self._at(name, partition)
        return p.claim, p.position

    async def load(self, name: str, partition: int, lateness_ms: int) -> Loaded:
        p = self._at(name, partition)
        watermark = int(p.meta.get("watermark", 0))
        still_open = [k for k, end in p.ends.items() if end + lateness_ms > watermark]
        meta = {**p.meta, "claim": p.claim, "feed": p.cursor} | ({"position": str(p.position)} if p.position else {})
        return Loaded(
            meta,
            {k: {label: _unpack(row) for label, row in p.windows[k].items()} for k in still_open},
            dict(p.ends),
            {k: _unpack(v) for k, v in p.ids.items()},
            {k: _unpack(v) for k, v in p.ledger.items()},
        )

    async def commit(self, name: str, partition: int, commit: Commit) -> None:
        p = self._at(name, partition)
        if (p.claim, p.position) != (commit.claim, commit.previous):
            raise Superseded(f"{name}/{partition}: refused at {commit.previous}; the store has position {p.position}")
        p.position = commit.position
        p.meta.update(commit.meta)
        p.ids.update(commit.ids)
        p.ledger.update(commit.ledger)
        for key in commit.ids_gone:
            p.ids.pop(key, None)
        for minute in commit.ledger_gone:
            p.ledger.pop(minute, None)
        for key, rows in commit.windows.items():
            p.windows.setdefault(key, {}).update(rows)
            p.ends[key] = commit.ends[key]
        for key in commit.gone:
            p.windows.pop(key, None)
            p.ends.pop(key, None)
        for n, data in enumerate(commit.feed):
            self._tell(p, partition, f"{commit.position}-{n}", commit.claim, n == len(commit.feed) - 1, data)

    def _tell(self, p: _Partition, partition: int, feed_id: str, claim: str, last: bool, data: bytes) -> None:
        floor = int(p.meta.get("floor", 0))
        entry = FeedEntry(partition, feed_id, claim, p.cursor, last, **_unpack(data), floor=floor)
        p.feed.append(entry)
        p.cursor = entry.cursor
        del p.feed[: -self._feed_cap]
        self._changed.set()

    async def watermarks(self, name: str, partitions: Sequence[int]) -> list[int]:
        return [int(self._at(name, p).meta.get("watermark", 0)) for p in partitions]

    async def settle(self, name: str, partition: int, settlement: Settlement) -> None:
        p = self._at(name, partition)
        if (p.claim, p.position) != (settlement.claim, settlement.position):
            raise Superseded(f"{name}/{partition}: refused at {settlement.position}; the store has {p.position}")
        if settlement.floor > max(int(p.meta.get("watermark", 0)), int(p.meta.get("floor", 0))):
            p.meta["floor"] = str(settlement.floor)
            self._tell(p, partition, f"{p.position}-{settlement.floor}", p.claim, True, settlement.feed)

    # ---- reader
    async def read(
        self, name: str, partition: int, table: str, size_ms: int, start_ms: int, end_ms: int, most: int | None = None
    ) -> PartitionRead:
        p = self._at(name, partition)
        windows = {}
        if most is not None:
            ends = [size + start for _, size, start in map(split_window_key, p.windows)]
            if sum(start_ms + size_ms <= end < end_ms + size_ms for end in ends) > most:
                raise TooMany(f"{name}/{partition}: more than {most} windows end in that span")
        for key, rows in p.windows.items():
            own, size, start = split_window_key(key)
            if (own, size) == (table, size_ms) and start_ms <= start < end_ms:
                windows[start] = {label: _unpack(row) for label, row in rows.items()}
        return (await self.head(name, partition))._replace(windows=windows)

    async def head(self, name: str, partition: int) -> PartitionRead:
        p = self._at(name, partition)
        feed_id, _, claim = p.cursor.partition(" ")
        following, watermark, floor = (int(p.meta.get(name, 0)) for name in ("next", "watermark", "floor"))
        return PartitionRead(partition, p.position, following, watermark, feed_id, claim, floor=floor)

    async def feed(self, cursors: Mapping[Named, str], block_ms: int) -> list[tuple[Named, list[FeedEntry]]]:
        found = self._after(cursors)
        if not found:
            self._changed.clear()
            try:
                # Not wait_for: on Python 3.11 it can swallow the cancellation of whoever follows the feed.
                async with asyncio.timeout(block_ms / 1000):
                    await self._changed.wait()
            except TimeoutError:
                return []
            found = self._after(cursors)
        return found

    def _after(self, cursors: Mapping[Named, str]) -> list[tuple[Named, list[FeedEntry]]]:
        found = [
            (named, [e for e in self._at(*named).feed if _order(e.id) > _order(after)])
            for named, after in cursors.items()
        ]
        return [(named, entries) for named, entries in found if entries]

    async def feed_range(self, name: str, partition: int, after_id: str, up_to_id: str) -> list[FeedEntry]:
        after, up_to = (_order(at or "0-0") for at in (after_id, up_to_id))
        return [e for e in self._at(name, partition).feed if after < _order(e.id) <= up_to][:FEED_PAGE]

    async def ledger(self, name: str, partition: int) -> dict[int, dict[str, Any]]:
        return {k: _unpack(v) for k, v in self._at(name, partition).ledger.items()}


def _order(feed_id: str) -> tuple[int, int]:
    position, _, n = feed_id.partition("-")
    return int(position), int(n)
