"""The chain of landing objects of one partition: the log's older half (DESIGN R5). *Source*: docs/specs/log.md."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Literal, NamedTuple

from dataforge.errors import Fatal
from dataforge.storage.landing_file import TAIL_BYTES, Footer, decode, footer_of, problem_with
from dataforge.storage.objects import ObjectStore
from dataforge.stream.records import LogRecord

SUFFIX = ".parquet"
_NAME = re.compile(r"(\d{20})\.parquet")
_LISTED_AT_ONCE = 1_000
"""Keys of one page of a listing. Beyond it a chain is searched, not walked."""
_LAST_DIGITS = (3, 4, 5)
"""Starts that differ in so many last digits only have names with one prefix, and are listed by it: a store that keeps
its objects in files looks at all that a prefix holds, wherever the listing is to begin.
"""
_FOLLOWED = 4
"""So many objects after the one that was found are looked for by their names, one by one."""
_SMALL_BYTES = 64 * 1024
"""Up to here a thread costs more than it saves the loop."""


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
        async for start in self._named(self.prefix, "" if above < 0 else self.key(above)):
            yield start

    async def _named(self, prefix: str, start_after: str = "") -> AsyncIterator[int]:
        async for key in self._store.list(prefix, start_after):
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

    async def listed(self, start: int) -> Footer:
        """The footer of an object that a listing named. *Raises* `Fatal` where it is gone, or no landing object."""
        key = self.key(start)
        try:
            return await self.footer(key)
        except KeyError as error:
            raise Fatal(f"{key} was listed and is not there: objects of a chain must never be removed") from error

    async def end(self, near: int | None = None) -> ChainEnd:
        """Found in the store, never remembered: whoever wrote last decides.

        `near`: an offset that it may be a little before, such as the log's end. It is found sooner there, and wherever
        else it is too.
        """
        close = None if near is None else await self._last_near(near)
        if close is not None and (end := await self._end_after(close)) is not None:
            return end
        last = await self._last_above(-1 if close is None else close, None)
        if last is None:
            return ChainEnd()
        footer = await self.listed(last)
        return ChainEnd(footer.next, footer)

    async def _end_after(self, start: int) -> ChainEnd | None:
        """The chain's end, where few objects follow this one."""
        first = await self.listed(start)
        followed = await self.after(first, _FOLLOWED)
        last = [first, *followed][-1]
        return None if len(followed) == _FOLLOWED else ChainEnd(last.next, last)

    async def after(self, last: Footer, at_most: int) -> list[Footer]:
        """The next objects after this one, by their names: each starts where the one before it ends."""
        found: list[Footer] = []
        with suppress(KeyError):
            while len(found) < at_most:
                last = await self.footer(self.key(last.next))
                found.append(last)
        return found

    async def start_of(self, offset: int) -> int | None:
        """Where the object starts that holds `offset`, or is the last before it; None where there is none."""
        close = await self._last_near(offset)
        return await self._last_above(-1, offset) if close is None else close

    async def _last_near(self, offset: int) -> int | None:
        """The greatest start not beyond `offset`, where that is not far before it."""
        for digits in _LAST_DIGITS:
            for near in (offset, offset - 10**digits):
                if near >= 0 and (last := await self._last_beside(near, digits, offset)) is not None:
                    return last
        return None

    async def _last_beside(self, near: int, digits: int, limit: int) -> int | None:
        """The greatest start not beyond the limit of those that differ from `near` in so many last digits only."""
        last = None
        async for start in self._named(self.key(near).removesuffix(SUFFIX)[:-digits]):
            if start > limit:
                break
            last = start
        return last

    async def _last_above(self, above: int, limit: int | None) -> int | None:
        last, listed = None, 0
        async for start in self.starts(above):
            if limit is not None and start > limit:
                return last
            last, listed = start, listed + 1
            if listed == _LISTED_AT_ONCE:
                break
        if last is None or listed < _LISTED_AT_ONCE:
            return last
        return await self._search(last, limit)

    async def _search(self, last: int, limit: int | None) -> int:
        """From a known start, in steps that double, then by halves: about 2 log2 of the offsets, not all keys."""
        if limit is None:
            step = max(last, 1)
            while (found := await self._first_above(last + step)) is not None:
                last, step = found, step * 2
            limit = last + step
        while (found := await self._first_above(last)) is not None and found <= limit:
            last = found
            middle = (last + limit) // 2
            beyond = await self._first_above(middle)
            if beyond is not None and beyond <= limit:
                last = beyond
            else:
                limit = middle
        return last

    async def _first_above(self, start: int) -> int | None:
        async for found in self.starts(start):
            return found
        return None

    async def read(self, offset: int) -> AsyncIterator[tuple[Footer, list[LogRecord]]]:
        """Each object that holds something at or after `offset`, with its records from there on.

        *Raises* `Fatal` where the chain has a hole at or after `offset`, or an object of it is damaged.
        """
        first = await self.start_of(offset)
        if first is None:
            async for start in self.starts():
                raise Fatal(f"{self.prefix} starts at offset {start}, and {offset} was asked for")
            return
        due = first
        async for start in self.starts(first - 1):
            if start != due:
                raise Fatal(f"{self.prefix}: an object ends at {due} and the next object starts at {start}")
            footer, records = await self._object(self.key(start))
            if not self._is_at(start, footer):
                raise Fatal(f"{self.key(start)} says it is {footer.topic}/{footer.partition} from {footer.start}")
            due = footer.next
            if footer.next > offset:
                yield footer, [record for record in records if record.offset >= offset]

    def _is_at(self, start: int, footer: Footer) -> bool:
        return (self.prefix, start) == (f"landing/{footer.topic}/{footer.partition}/", footer.start)

    async def _object(self, key: str) -> tuple[Footer, list[LogRecord]]:
        """*Raises* `Fatal` where it is gone, or not what was written."""
        try:
            data = await self._store.get(key)
        except KeyError as error:
            raise Fatal(f"{key} was listed and is not there: objects of a chain must never be removed") from error
        # In a thread where it takes long: heartbeats go on beside it.
        checked = _checked(data) if len(data) <= _SMALL_BYTES else await asyncio.to_thread(_checked, data)
        if isinstance(checked, str):
            raise Fatal(f"{key} is damaged: {checked}")
        return checked

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
            if not self._is_at(start, footer):
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


def _checked(data: bytes) -> tuple[Footer, list[LogRecord]] | str:
    """The object's content, or what is wrong with it. *Raises* `Fatal` where it is none."""
    footer, records = decode(data)
    return problem_with(footer, records) or (footer, records)
