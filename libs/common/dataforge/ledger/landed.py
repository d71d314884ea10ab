"""How many rows of each minute are landed, by the footers of a chain: objects never change, so each is read once."""

import asyncio
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence

from dataforge.errors import Fatal
from dataforge.ledger.balance import MINUTE_MS, Landed
from dataforge.storage.chain import Chain
from dataforge.storage.landing_file import Footer

_AT_ONCE = 8
_READ_BACK = 512
"""Older footers read by one refresh: a long chain becomes known step by step, newest minutes first."""


class LandedMinutes:
    """One partition's chain. Memory: 8 bytes an object and a number a minute."""

    def __init__(self, chain: Chain, *, read_back: int = _READ_BACK) -> None:
        self.chain = chain
        self._read_back = read_back
        self._refreshing = asyncio.Lock()
        """Two at the same time would count the same new objects twice."""
        self._forget()

    def _forget(self) -> None:
        self._starts = array("q")
        self._low = 0
        """Of `_starts` from here on the footers were read."""
        self._minutes: Counter[int] = Counter()
        self._oldest_ms: int | None = None
        self._last: Footer | None = None

    def key_of(self, offset: int) -> str | None:
        """Key of the object that holds this offset; None where it is not landed, as of the last refresh."""
        if self._last is None or offset >= self._last.next:
            return None
        at = bisect_right(self._starts, offset)
        return self.chain.key(self._starts[at - 1]) if at else None

    @property
    def starts(self) -> Sequence[int]:
        """Where its objects start, as of the last refresh."""
        return self._starts

    async def refresh(self, from_ms: int) -> Landed:
        """What is landed now; rows of minutes before `from_ms` are of no interest.

        *Raises* `Transient` where the store is away, `Fatal` where something else lies in the chain's place.
        """
        async with self._refreshing:
            return await self._refresh(from_ms)

    async def _refresh(self, from_ms: int) -> Landed:
        last = self._starts[-1] if self._starts else -1
        # From the last known one on: where that is gone, the chain was moved away and begun anew.
        found = [start async for start in self.chain.starts(last - 1 if last >= 0 else -1)]
        if last >= 0 and (not found or found[0] != last):
            self._forget()
            return await self._refresh(from_ms)
        await self._append(found[1:] if last >= 0 else found)
        await self._go_back(from_ms)
        if self._last is None:
            return Landed()
        whole_from = (self._oldest_ms or 0) + MINUTE_MS if self._low else 0
        return Landed(self._last.next, self._last.fp.timestamp, dict(self._minutes), whole_from)

    async def _append(self, starts: list[int]) -> None:
        if not starts:
            return
        first_time = not self._starts
        footers = await self._footers(starts[-1:] if first_time else starts)
        if self._last is not None and footers[-1].topic_id != self._last.topic_id:
            self._forget()  # the topic was replaced, and its chain with it
            return
        self._starts.extend(starts)
        self._low = len(starts) - 1 if first_time else self._low
        self._add(footers)
        self._last = footers[-1]

    async def _go_back(self, from_ms: int) -> None:
        low = max(0, self._low - self._read_back)
        if low == self._low or self._oldest_ms is None or self._oldest_ms < from_ms:
            return
        self._add(await self._footers(list(self._starts[low : self._low])))
        self._low = low

    def _add(self, footers: list[Footer]) -> None:
        for footer in footers:
            self._minutes.update(footer.minutes)
        oldest = min(min(footer.minutes) for footer in footers)
        self._oldest_ms = oldest if self._oldest_ms is None else min(oldest, self._oldest_ms)

    async def _footers(self, starts: list[int]) -> list[Footer]:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(start: int) -> Footer:
            key = self.chain.key(start)
            async with slots:
                try:
                    return await self.chain.footer(key)
                except KeyError as error:
                    raise Fatal(f"{key} was listed and is not there: objects of a chain are never removed") from error

        return list(await asyncio.gather(*map(one, starts)))
