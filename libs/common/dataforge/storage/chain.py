"""The chain of landing objects of one partition: the log's older half (DESIGN R5). *Source*: docs/specs/log.md."""

from collections.abc import AsyncIterator
from typing import Literal, NamedTuple
from zlib import crc32

from dataforge.errors import Fatal
from dataforge.storage.landing_file import TAIL_BYTES, Footer, decode, footer_of
from dataforge.storage.objects import ObjectStore
from dataforge.stream.records import LogRecord

SUFFIX = ".parquet"


class ChainEnd(NamedTuple):
    next: int = 0
    """Where the next object must start."""
    footer: Footer | None = None
    """Of the last object; None where there is none."""


class ChainProblem(NamedTuple):
    kind: Literal["gap", "overlap", "crc", "topic_id", "footer"]
    key: str
    detail: str


class Chain:
    def __init__(self, store: ObjectStore, topic: str, partition: int) -> None:
        self._store = store
        self.prefix = f"landing/{topic}/{partition}/"

    def key(self, start: int) -> str:
        return f"{self.prefix}{start:020d}{SUFFIX}"

    async def keys(self, from_start: int | None = None) -> AsyncIterator[str]:
        after = "" if from_start is None else f"{self.prefix}{from_start:020d}"
        async for key in self._store.list(self.prefix, after):
            yield key

    async def footer(self, key: str) -> Footer:
        found = footer_of(await self._store.tail(key, TAIL_BYTES))
        if isinstance(found, int):
            found = footer_of(await self._store.tail(key, found))
        if isinstance(found, int):
            raise Fatal(f"{key}: its footer is larger than it says")
        return found

    async def end(self) -> ChainEnd:
        """Found by listing, never remembered: whoever wrote last decides."""
        last = ""
        async for key in self.keys():
            last = key
        if not last:
            return ChainEnd()
        footer = await self.footer(last)
        return ChainEnd(footer.next, footer)

    async def read(self, offset: int) -> AsyncIterator[tuple[Footer, list[LogRecord]]]:
        """The objects that hold `offset` and everything after it, with their records from there on."""
        holder: str | None = None
        later: list[str] = []
        async for key in self.keys():
            start = int(key.removeprefix(self.prefix).removesuffix(SUFFIX))
            if start <= offset:
                holder = key
            else:
                later.append(key)
        for key in [*([holder] if holder else []), *later]:
            footer, records = decode(await self._store.get(key))
            if footer.next > offset:
                yield footer, [record for record in records if record.offset >= offset]

    async def verify(self) -> AsyncIterator[ChainProblem]:
        """Walk it from its first object: no gap, no overlap, the bytes it was written with, one topic."""
        due, topic_id = 0, ""
        async for key in self.keys():
            footer, records = decode(await self._store.get(key))
            if self.key(footer.start) != key:
                yield ChainProblem("footer", key, f"its footer says start {footer.start}")
            if footer.start > due:
                yield ChainProblem("gap", key, f"starts at {footer.start}; {due} was due")
            if footer.start < due:
                yield ChainProblem("overlap", key, f"starts at {footer.start}; {due} was due")
            crc = 0
            for record in records:
                crc = crc32(record.value or b"", crc)
            if (crc, len(records)) != (footer.crc, footer.count):
                yield ChainProblem("crc", key, "its records are not those it was written with")
            if topic_id and footer.topic_id != topic_id:
                yield ChainProblem("topic_id", key, f"belongs to topic {footer.topic_id}, the one before to {topic_id}")
            due, topic_id = footer.next, footer.topic_id
