"""What quality-worker reads of the log beside its batches: last records, and the verdicts that are there."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from dataforge.storage.chain import Chain
from dataforge.stream.catch_up import compare
from dataforge.stream.judged import Acceptance, stamps, unpack
from dataforge.stream.origin import Mark, Origin
from dataforge.stream.records import Record, TopicPartition
from dataforge.stream.work import Log as RuntimeLog


class Log(RuntimeLog, Protocol):
    def read_from(self, tp: TopicPartition, offset: int) -> AsyncIterator[Sequence[Record]]:
        """Its records from `offset` to the end it has now.

        *Raises* `Fatal` where the log no longer, or not yet, holds `offset`: going on would judge twice.
        """
        ...

    async def last_record(self, tp: TopicPartition) -> Record | None:
        """None where the log holds none."""
        ...


class Judged(NamedTuple):
    """What the verdicts of a partition say about its raw log."""

    next: int
    """The first raw offset without an accepted verdict."""
    origin: Origin | None
    """The raw log, and the last record accepted of it; None where there is no verdict yet."""


async def judged_so_far(log: Log, chain: Chain, judged: TopicPartition) -> Judged:
    """The acceptance fold of all of `judged`: what is landed of it is known from the last footer, without reading it.

    *Raises* `Fatal` where the log is not the one that was landed (DESIGN R6b), or lost verdicts that are not landed.
    """
    # `compare` asks for the bounds again: what landed after these were told may lie beyond their end.
    end = await chain.end((await log.bounds(judged)).end)
    acceptance, last_src, last = Acceptance(), None, None
    if footer := end.footer:
        await compare(log, judged, end.next, Origin(bytes.fromhex(footer.topic_id), footer.fp))
        acceptance, last_src = Acceptance(footer.accepted_next or 0), footer.last_src
    async for records in log.read_from(judged, end.next):
        if accepted := acceptance.accept(stamps(records))[0]:
            stamp = unpack(records[accepted[-1]].headers)
            last_src = Mark(stamp.src, stamp.ts, stamp.crc)
        last = records[-1] if records else last
    if last is None and footer:
        async for _, landed in chain.read(footer.fp.offset):
            last = landed[-1]
    if last is None:
        return Judged(acceptance.next, None)
    return Judged(acceptance.next, Origin(unpack(last.headers).topic_id, last_src))
