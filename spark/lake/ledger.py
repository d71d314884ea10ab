"""What must be in bronze, by the footers of what landed (docs/specs/ledger.md), and where to read it again.

Raw footers say how many records each minute of append time has. Below the fold's `next` every one of them was accepted,
once; so that many rows bronze must have. Judged footers say where the fold stood after each object: so the objects in
which some raw offsets were accepted are found without reading others, and folded again from their own beginning.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from dataforge.errors import Fatal
from dataforge.storage.chain import Chain
from dataforge.storage.landing_file import Footer

from lake.landing import Landed
from lake.when import HOUR_MS

_AT_ONCE = 16


class Counted(NamedTuple):
    """Raw records of one object: those below the place that was asked for."""

    first: int
    """Raw offset where the object begins."""
    next: int
    hours: Mapping[int, int]
    """Hour of append time (ms) -> records."""


class Refold(NamedTuple):
    """Consecutive judged objects of one partition."""

    following: int
    """Where the acceptance fold stands before them (next raw offset)."""
    landed: Sequence[Landed]


async def counted(chain: Chain, since_ms: int, below: int) -> list[Counted]:
    """Of a raw chain: the objects whose last record is not older than `since_ms`, as far as they lie below an offset.

    *Raises* `Fatal` where the chain has a hole.
    """
    footers = await _Footers.of(chain, below)

    async def recent(at: int) -> bool:
        return (await footers.at(at)).fp.timestamp >= since_ms

    found = await footers.all_from(await first_that(len(footers), recent))
    for one, following in pairwise(found):
        if one.next != following.start:
            raise Fatal(f"{chain.prefix}: an object is due at {one.next}, and the next one starts at {following.start}")
    objects = [Counted(one.start, one.next, _hours(one.minutes.items())) for one in found]
    if objects and objects[-1].next > below:
        objects[-1] = await _cut(chain, objects[-1].first, below)
    return objects


async def _cut(chain: Chain, first: int, below: int) -> Counted:
    """An object that goes on beyond the place: its footer does not say how many of its records lie below it."""
    async for _, records in chain.read(first):
        return Counted(first, below, _hours((record.timestamp, 1) for record in records if record.offset < below))
    raise Fatal(f"{chain.key(first)} was listed and is not there: objects of a chain are never removed")


def _hours(times: Iterable[tuple[int, int]]) -> Counter[int]:
    hours: Counter[int] = Counter()
    for at_ms, records in times:
        hours[at_ms - at_ms % HOUR_MS] += records
    return hours


async def accepting(chain: Chain, ranges: Iterable[tuple[int, int]]) -> list[Refold]:
    """Of a judged chain: the objects in which raw offsets of these ranges (from, up to) were accepted.

    *Raises* `Fatal` where a footer does not say where the fold stood.
    """
    footers = await _Footers.of(chain)

    async def accepted(at: int) -> int:
        return _accepted(footers.key(at), await footers.at(at))

    async def beyond(at: int, offset: int) -> bool:
        return await accepted(at) > offset

    found: list[range] = []
    for start, end in joined(ranges):
        first = await first_that(len(footers), lambda at, offset=start: beyond(at, offset))
        last = await first_that(len(footers), lambda at, offset=end - 1: beyond(at, offset))
        found.append(range(first, min(last + 1, len(footers))))
    spans = joined((one.start, one.stop) for one in found)
    return [
        Refold(
            await accepted(first - 1) if first else 0,
            [Landed(footers.key(at), await footers.at(at)) for at in range(first, end)],
        )
        for first, end in spans
    ]


async def accepted_end(chain: Chain) -> int:
    """Where the fold stands at the end of a judged chain: below it, all that was accepted is landed.

    *Raises* `Fatal` as `accepting`.
    """
    footer = (await chain.end()).footer
    return 0 if footer is None else _accepted(chain.key(footer.start), footer)


def _accepted(key: str, footer: Footer) -> int:
    if footer.accepted_next is None:
        raise Fatal(f"{key}: its footer does not say where the acceptance fold stood after it")
    return footer.accepted_next


def joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same numbers by as few ranges (from, up to) as can be, in order."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


async def first_that(count: int, holds: Callable[[int], Awaitable[bool]]) -> int:
    """The least of 0 to `count` for which it holds, where it holds for all greater ones too; `count` where for none."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if await holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


class _Footers:
    """Of a chain's objects, by their number. Each is read once at most."""

    def __init__(self, chain: Chain, starts: Sequence[int]) -> None:
        self._chain, self._starts = chain, starts
        self._read: dict[int, Footer] = {}

    @classmethod
    async def of(cls, chain: Chain, below: int | None = None) -> "_Footers":
        return cls(chain, [start async for start in _up_to(chain.starts(), below)])

    def __len__(self) -> int:
        return len(self._starts)

    def key(self, at: int) -> str:
        return self._chain.key(self._starts[at])

    async def at(self, at: int) -> Footer:
        if at not in self._read:
            self._read[at] = await self._chain.footer(self.key(at))
        return self._read[at]

    async def all_from(self, first: int) -> list[Footer]:
        found: list[Footer] = []
        for page in range(first, len(self), _AT_ONCE):
            found += await asyncio.gather(*map(self.at, range(page, min(page + _AT_ONCE, len(self)))))
        return found


async def _up_to(starts: AsyncIterator[int], below: int | None) -> AsyncIterator[int]:
    async for start in starts:
        if below is not None and start >= below:
            return
        yield start
