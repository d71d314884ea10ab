"""A partition's records from any offset on: from the log where it still holds them, else from the landing chain."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import NamedTuple, Protocol

from dataforge.stream.judged import Acceptance, Stamp, unpack
from dataforge.stream.origin import Bounds
from dataforge.stream.records import Record, TopicPartition
from dataforge.stream.work import History


class ReadableLog(Protocol):
    """*Raises* `Transient` where it is away."""

    async def bounds(self, tp: TopicPartition) -> Bounds: ...
    async def record_at(self, tp: TopicPartition, offset: int) -> Record | None: ...
    def read_from(self, tp: TopicPartition, offset: int) -> AsyncGenerator[Sequence[Record], None]:
        """From `offset` to the end it has now."""
        ...


class Place(NamedTuple):
    """Where to begin reading a judged log."""

    position: int
    """Judged offset."""
    next: int
    """The acceptance fold there: a raw offset."""


class Accepted(NamedTuple):
    record: Record
    """Its offset is the judged one."""
    stamp: Stamp


class Past:
    def __init__(self, log: ReadableLog, history: History | None) -> None:
        self.log, self._history = log, history

    async def read(self, tp: TopicPartition, offset: int) -> AsyncGenerator[Sequence[Record], None]:
        """*Raises* `Transient`, and `Fatal` where neither log nor chain holds `offset`."""
        bounds = await self.log.bounds(tp)
        if offset < bounds.begin and self._history is not None:
            async with aclosing(self._history.read(tp, offset)) as landed:
                async for _, batch in landed:
                    yield batch.records
                    offset = batch.next
        async with aclosing(self.log.read_from(tp, offset)) as logged:
            async for records in logged:
                yield records

    async def accepted(
        self, tp: TopicPartition, start: Place, end: int | None = None
    ) -> AsyncGenerator[Accepted, None]:
        """The records of a judged log from `start` on that every reader accepts; those before judged offset `end`."""
        acceptance = Acceptance(start.next)
        async with aclosing(self.read(tp, start.position)) as batches:
            async for records in batches:
                for record in records:
                    if end is not None and record.offset >= end:
                        return
                    stamp = unpack(record.headers)
                    if acceptance.accepts(stamp.base, stamp.src):
                        yield Accepted(record, stamp)
