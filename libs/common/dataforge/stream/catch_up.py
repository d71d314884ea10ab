"""Is the log still the one that a position was reached in, and does it still hold what follows (DESIGN R5, R6b)?"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from dataforge.errors import Fatal
from dataforge.runtime import metrics
from dataforge.stream.origin import Bounds, Mark, Origin, replaced, same_topic
from dataforge.stream.records import Record, RecordBatch, TopicPartition
from dataforge.stream.work import History, Log

logger = logging.getLogger(__name__)

_REMEDY = "Restore the topic; or, if it was replaced on purpose, give the event a new version: new topics, a new state"


async def compare(log: Log, tp: TopicPartition, position: int, origin: Origin) -> Bounds:
    """The log's bounds, once nothing speaks against its being the one of `origin`. *Raises* `Fatal`, `Transient`."""
    bounds = await log.bounds(tp)
    record: Record | None = None
    if origin.last is not None and bounds.begin <= origin.last.offset < bounds.end:
        record = await log.record_at(tp, origin.last.offset)
    if (problem := replaced(origin, position, bounds, record)) is not None:
        raise Fatal(f"{tp.topic}/{tp.partition}: {problem}. {_REMEDY}")
    return bounds


class CatchUp:
    """Reads on from a partition's history, until its log holds what follows.

    `run` may be called again after `Transient`: it goes on where it was. *Guarantees*: batches are offered in order
    without gap or overlap, all of records of the log that `position` was reached in.
    """

    def __init__(
        self, tp: TopicPartition, log: Log, history: History | None, position: int, origin: Origin, bounds: Bounds
    ) -> None:
        self._tp, self._log, self._history = tp, log, history
        self._position, self._last, self._bounds = position, origin.last, bounds
        self._checked = False

    @property
    def needed(self) -> bool:
        """False where the log holds all that follows, and what went before could be compared with it."""
        lost = self._bounds.begin > self._position
        unseen = self._last is not None and self._last.offset < self._bounds.begin
        return lost or (unseen and self._history is not None)

    @property
    def standby(self) -> int:
        """An offset the log holds, for its consumer to wait at meanwhile."""
        return max(self._position, self._bounds.begin)

    async def run(self, offer: Callable[[RecordBatch], Awaitable[None]]) -> int:
        """Offer what the log no longer holds; returns where the log goes on.

        *Raises* `Fatal` where neither holds what follows, or either is another log; `Transient`. Cancelling it is safe.
        """
        if self._history is None:
            raise self._lost(self._position)
        if not self._checked:
            await self._check_last(self._history)
            self._checked = True
        while self._bounds.begin > self._position:
            logger.info(
                "%s/%d: the log begins at %d, reading on from its landing chain at %d",
                *self._tp, self._bounds.begin, self._position,
            )  # fmt: skip
            before = self._position
            await self._read(self._history, offer)
            # Meanwhile the log may have lost more. Where it does not lie below, its record must be the chain's last.
            origin = Origin(self._bounds.topic_id, self._last)
            self._bounds = await compare(self._log, self._tp, self._position, origin)
            if self._position == before and self._bounds.begin > before:
                raise self._lost(before)
        return self._position

    async def _read(self, history: History, offer: Callable[[RecordBatch], Awaitable[None]]) -> None:
        async with aclosing(history.read(self._tp, self._position)) as pieces:
            async for topic_id, batch in pieces:
                self._check_topic(topic_id)
                await offer(batch)
                metrics.CHAIN_RECORDS.labels(self._tp.topic).inc(len(batch))
                self._position = batch.next
                if batch.records:
                    self._last = Mark.of(batch.records[-1])
                if self._position >= self._bounds.begin:
                    return

    async def _check_last(self, history: History) -> None:
        """The chain's record is compared where the log no longer holds it. A chain that ends before says nothing."""
        last = self._last
        if last is None or last.offset >= self._bounds.begin:
            return
        async with aclosing(history.read(self._tp, last.offset)) as pieces:
            async for topic_id, batch in pieces:
                self._check_topic(topic_id)
                if not batch.records or Mark.of(batch.records[0]) != last:
                    raise self._other(f"the record at {last.offset} of its landing chain is another than the one read")
                return

    def _check_topic(self, landed: bytes) -> None:
        if not same_topic(landed, self._bounds.topic_id):
            ids = f"the chain's id is {landed.hex()}, the log's {self._bounds.topic_id.hex()}"
            raise self._other(f"the topic was recreated after it was landed: {ids}")

    def _other(self, problem: str) -> Fatal:
        return Fatal(f"{self._tp.topic}/{self._tp.partition}: {problem}. {_REMEDY}")

    def _lost(self, end: int) -> Fatal:
        where = "is to be read from" if self._history is None else "its landing chain ends at"
        return Fatal(
            f"{self._tp.topic}/{self._tp.partition}: the log begins at {self._bounds.begin}, and {where} {end}: what "
            "lies between is lost, because the topic's retention is too short. Restore the topic or the chain; or, to "
            "go on without those records, give the event a new version"
        )
