"""The chain of landing objects of one partition: the log's older half (DESIGN R5). *Source*: docs/specs/log.md."""

import re
from collections.abc import AsyncIterator
from typing import Literal, NamedTuple

from dataforge.errors import Fatal
from dataforge.storage.landing_file import TAIL_BYTES, Footer, decode, footer_of, problem_with
from dataforge.storage.objects import ObjectStore
from dataforge.stream.records import LogRecord

SUFFIX = ".parquet"
_NAME = re.compile(r"(\d{20})\.parquet")
_LISTED_AT_ONCE = 1_000
"""Keys of one page of a listing. A longer chain's end is searched for, not walked to."""


class ChainEnd(NamedTuple):
    next: int = 0
    """Where the next object must start."""
    footer: Footer | None = None
    """Of the last object; None where there is none."""


class ChainProblem(NamedTuple):
    kind: Literal["gap", "overlap", "crc", "topic_id", "footer", "unreadable"]
    key: str
    detail: str


class Chain:
    """Reads one partition's objects. *Raises* `Transient` where the store does not answer.

    Names that are not twenty digits and the suffix are no objects of the chain: a file-backed store lists its
    unfinished uploads too, under `<key>-<uuid>`, and after a crash for ever.
    """

    def __init__(self, store: ObjectStore, topic: str, partition: int) -> None:
        self._store = store
        self.prefix = f"landing/{topic}/{partition}/"

    def key(self, start: int) -> str:
        return f"{self.prefix}{start:020d}{SUFFIX}"

    async def starts(self, above: int = -1) -> AsyncIterator[int]:
        """The starts of the chain's objects, those greater than `above`, in order."""
        async for key in self._store.list(self.prefix, "" if above < 0 else self.key(above)):
            if found := _NAME.fullmatch(key.removeprefix(self.prefix)):
                yield int(found[1])

    async def footer(self, key: str) -> Footer:
        """*Raises* KeyError where there is no such object, `Fatal` where it is not a landing object."""
        found = footer_of(await self._store.tail(key, TAIL_BYTES))
        if isinstance(found, int):
            found = footer_of(await self._store.tail(key, found))
        if isinstance(found, int):
            raise Fatal(f"{key}: its footer is larger than it says")
        return found

    async def end(self) -> ChainEnd:
        """Found by listing, never remembered: whoever wrote last decides."""
        last = await self._last_start()
        if last is None:
            return ChainEnd()
        footer = await self.footer(self.key(last))
        return ChainEnd(footer.next, footer)

    async def _last_start(self) -> int | None:
        last, listed = None, 0
        async for start in self.starts():
            last, listed = start, listed + 1
            if listed == _LISTED_AT_ONCE:
                break
        if last is None or listed < _LISTED_AT_ONCE:
            return last
        return await self._search_last(last)

    async def _search_last(self, last: int) -> int:
        """From a known start, in steps that double, then by halves: about 2 log2 of the offsets, not all keys."""
        step = max(last, 1)
        while (found := await self._first_above(last + step)) is not None:
            last, step = found, step * 2
        nothing_above = last + step
        while (found := await self._first_above(last)) is not None:
            last = found
            middle = (last + nothing_above) // 2
            if (beyond := await self._first_above(middle)) is not None:
                last = beyond
            else:
                nothing_above = middle
        return last

    async def _first_above(self, start: int) -> int | None:
        async for found in self.starts(start):
            return found
        return None

    async def read(self, offset: int) -> AsyncIterator[tuple[Footer, list[LogRecord]]]:
        """Each object that holds something at or after `offset`, with its records from there on.

        *Raises* `Fatal` where the chain has a hole at or after `offset`.
        """
        for start, following in await self._covering(offset):
            footer, records = decode(await self._store.get(self.key(start)))
            if following is not None and footer.next != following:
                raise Fatal(f"{self.key(start)} ends at {footer.next} and the next object starts at {following}")
            if footer.next > offset:
                yield footer, [record for record in records if record.offset >= offset]

    async def _covering(self, offset: int) -> list[tuple[int, int | None]]:
        """(start, start of the one after it) of every object from the one that holds `offset` on."""
        starts = [start async for start in self.starts()]
        before = sum(start <= offset for start in starts)
        if starts and not before:
            raise Fatal(f"{self.prefix} starts at offset {starts[0]}, and {offset} was asked for")
        needed = starts[max(before - 1, 0) :]
        return list(zip(needed, [*needed[1:], None], strict=True)) if needed else []

    async def verify(self) -> AsyncIterator[ChainProblem]:
        """Walk it from offset 0: no gap, no overlap, the bytes it was written with, one topic."""
        due, topic_id = 0, ""
        async for start in self.starts():
            key = self.key(start)
            try:
                footer, records = decode(await self._store.get(key))
            except Fatal as error:
                yield ChainProblem("unreadable", key, str(error))
                continue
            if (self.prefix, start) != (f"landing/{footer.topic}/{footer.partition}/", footer.start):
                yield ChainProblem("footer", key, f"says {footer.topic}/{footer.partition} from {footer.start}")
            if start > due:
                yield ChainProblem("gap", key, f"{due} was due")
            if start < due:
                yield ChainProblem("overlap", key, f"{due} was due")
            if problem := problem_with(footer, records):
                yield ChainProblem("crc", key, problem)
            if topic_id and footer.topic_id != topic_id:
                yield ChainProblem("topic_id", key, f"of topic {footer.topic_id}, the one before of {topic_id}")
            due, topic_id = footer.next, footer.topic_id
