"""How many rows of each minute are landed, by the footers of a chain: objects never change, so each is read once."""

import asyncio
from collections import Counter

from dataforge.ledger.balance import MINUTE_MS, Landed
from dataforge.storage.chain import Chain
from dataforge.storage.landing_file import Footer

_AT_ONCE = 8
_READ_BACK = 512
"""Older footers read by one refresh: a long chain becomes known step by step, newest minutes first."""
_FOLLOWED = 16
"""So many new objects are read by name, one by one. Where there are more, they are listed, and read side by side."""
_NEVER_MS = 2**53


class LandedMinutes:
    """One partition's chain, from its end back as far as somebody asks. Memory: a number a minute."""

    def __init__(self, chain: Chain, *, read_back: int = _READ_BACK) -> None:
        self.chain = chain
        self._read_back = read_back
        self._refreshing = asyncio.Lock()
        """Two at the same time would count the same new objects twice."""
        self._forget()

    def _forget(self) -> None:
        self._minutes: Counter[int] = Counter()
        self._last: Footer | None = None
        self._first = self._objects = 0
        """Where the oldest object starts whose footer was read, and how many were."""
        self._oldest_ms = 0
        self._whole = False
        """Nothing lies before `_first`."""

    async def key_of(self, offset: int) -> str | None:
        """Key of the object that holds this offset; None where it is not landed yet.

        *Raises* as `refresh` does.
        """
        if offset >= (await self.refresh()).next:
            return None
        start = await self.chain.start_of(offset)
        return None if start is None else self.chain.key(start)

    async def refresh(self, from_ms: int = _NEVER_MS) -> Landed:
        """What is landed now; rows of minutes before `from_ms` are of no interest.

        *Raises* `Transient` where the store is away, `Fatal` where something else lies in the chain's place.
        """
        async with self._refreshing:
            last = await self._go_on()
            if last is None:
                return Landed()
            if not self._whole and self._oldest_ms >= from_ms:
                await self._go_back(last)
            whole_from = 0 if self._whole else self._oldest_ms + MINUTE_MS
            return Landed(last.next, last.fp.timestamp, dict(self._minutes), whole_from)

    async def _go_on(self) -> Footer | None:
        """Read what was landed since. Returns the last footer; None where the chain has none."""
        if (last := self._last) is not None:
            new = await self._since(last)
            # Where neither is there, the chain was moved away and begun anew.
            if (new or await self._is_there(last)) and all(footer.topic_id == last.topic_id for footer in new):
                self._add(new)
                self._last = [last, *new][-1]
                return self._last
            self._forget()
        end = await self.chain.end()
        if end.footer is not None:
            self._last, self._first, self._whole = end.footer, end.footer.start, end.footer.start == 0
            self._oldest_ms = min(end.footer.minutes)
            self._add([end.footer])
        return self._last

    async def _since(self, last: Footer) -> list[Footer]:
        new = await self.chain.after(last, _FOLLOWED)
        if len(new) == _FOLLOWED:
            new += await self._footers([start async for start in self.chain.starts(new[-1].start)])
        return new

    async def _is_there(self, known: Footer) -> bool:
        try:
            return await self.chain.footer(self.chain.key(known.start)) == known
        except KeyError:
            return False

    async def _go_back(self, last: Footer) -> None:
        """Read the newest of what is older than all that was read."""
        offsets = max(1, (last.next - self._first) // self._objects) * self._read_back
        older: list[int] = []
        whole = False
        while not older and not whole:
            above = max(self._first - offsets, 0) - 1
            async for start in self.chain.starts(above):
                if start >= self._first:
                    break
                older.append(start)
            whole = above < 0 and len(older) <= self._read_back
            offsets *= 2
        older = older[-self._read_back :]
        # All that may fail comes first: what is noted below is noted together.
        self._add(await self._footers(older))
        self._whole = whole
        self._first = older[0] if older else self._first

    def _add(self, footers: list[Footer]) -> None:
        self._objects += len(footers)
        for footer in footers:
            self._minutes.update(footer.minutes)
            self._oldest_ms = min(self._oldest_ms, *footer.minutes)

    async def _footers(self, starts: list[int]) -> list[Footer]:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(start: int) -> Footer:
            async with slots:
                return await self.chain.listed(start)

        return list(await asyncio.gather(*map(one, starts)))
