"""One partition's owner: claim, load, fold, commit (DESIGN R3). The only I/O is the state store."""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from dataforge.errors import Superseded, Transient
from dataforge.runtime import metrics
from dataforge.runtime.tracing import batch_trace
from dataforge.state.model import Commit
from dataforge.state.store import StateWriter
from dataforge.stream.judged import Stamp
from dataforge.stream.origin import NO_ID, Mark, Origin
from dataforge.stream.records import RecordBatch, TopicPartition
from dataforge.stream.work import Log

from aggregator.compile import Compiled
from aggregator.fold import Fold
from aggregator.owner import IDLE_CHECK_S, demand_owner
from aggregator.snapshot import drain, restore, settlement
from aggregator.windows import Windows

logger = logging.getLogger(__name__)

REST = 4
"""A partition folds at least this many times as long as a commit takes: commits never take most of its time. The
shorter of the last two counts: one that waited for a store that was away says nothing about what commits cost.
"""
MAX_TRACES = 16
"""Traces handed on by one commit; the rest end here."""


def wall_ms() -> int:
    """The time of day in ms since the epoch: shown to people, never counted with."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Pace:
    """When to commit. Small commits make numbers fresh, large ones make catching up cheap."""

    interval_s: float = 0.1
    max_pending_rows: int = 20_000
    idle_after_s: float = 10.0
    """Without an accepted record for this long a partition is idle."""


class AggregatorPartition:
    """A `PartitionWork` over one judged partition.

    *Guarantees*: a record's effect and the position behind it become visible together or not at all; a
    worker that lost the partition can write nothing; after a rolled-back store the owner leaves, and the
    next one re-reads from what the store holds.
    """

    def __init__(
        self,
        tp: TopicPartition,
        compiled: Compiled,
        store: StateWriter,
        clock: Callable[[], float],
        pace: Pace = Pace(),
        now_ms: Callable[[], int] = wall_ms,
        log: Log | None = None,
    ) -> None:
        """`log` tells which log the state is of; without one the state does not say."""
        self._log, self._origin = log, Origin()
        self._tp, self._compiled, self._store, self._clock, self._pace = tp, compiled, store, clock, pace
        self._now_ms = now_ms
        self._claim = ""
        self._traces: list[str] = []
        self._committed = 0
        self._unsafe: Commit | None = None
        """Drained, and refused for want of memory: sent again as it is, before anything else is folded."""
        self._due = self._checked = self._accepted = 0.0
        self._took = 0.0
        """Seconds of the last commit."""
        self._fold: Fold
        self._windows: Windows

    @property
    def position(self) -> int:
        return self._committed

    @property
    def origin(self) -> Origin:
        return self._origin

    @property
    def fold(self) -> Fold:
        return self._fold

    @property
    def windows(self) -> Windows:
        return self._windows

    async def open(self) -> int:
        self._claim = secrets.token_hex(16)
        await self._store.claim(self._compiled.name, self._tp.partition, self._claim)
        loaded = await self._store.load(self._compiled.name, self._tp.partition, self._compiled.event.lateness_ms)
        self._fold, self._windows = restore(self._compiled, loaded)
        self._committed = self._fold.position
        await self._learn_origin()
        self._checked = self._accepted = self._clock()
        return self._committed

    async def _learn_origin(self) -> None:
        last = Mark(*self._fold.last) if self._fold.last else None
        if self._log is not None:
            seen = (await self._log.bounds(self._tp)).topic_id
            stored, self._fold.judged_id = self._fold.judged_id, seen
            self._origin = Origin(seen if stored == NO_ID else stored, last)

    async def take(self, batch: RecordBatch) -> None:
        if self._unsafe is not None:
            await self._commit()
        if batch.start < self._fold.position:
            return  # put back when its commit was refused; it was folded before that, and is safe by now
        with batch_trace("aggregate", batch.topic, batch.partition, batch.records) as traced:
            following = self._fold.acceptance.next
            self._fold.fold(batch.records, batch.next)
            found = (traced.traceparent(index) for index in traced.records)
            self._traces += [value.decode() for value in found if value][: MAX_TRACES - len(self._traces)]
        if self._fold.acceptance.next > following:
            self._accepted = self._clock()
        if self._fold.gap is not None:
            self._report_gap(self._fold.gap)
        rows = sum(map(len, self._fold.begun))
        if self._clock() >= self._due or rows >= self._pace.max_pending_rows:
            await self._commit()

    async def tick(self) -> None:
        if self._fold.position > self._committed:
            if self._clock() >= self._due:
                await self._commit()
        elif self._clock() >= self._checked + IDLE_CHECK_S:
            self._checked = self._clock()
            await demand_owner(self._store, self._compiled.name, self._tp.partition, self._claim, self._committed)
            if self._checked >= self._accepted + self._pace.idle_after_s:
                await self._settle()

    async def close(self) -> None:
        if self._fold.position > self._committed:
            await self._commit()

    async def _commit(self) -> None:
        """*Raises* `Transient` where the store refused it; what was drained is then kept for the next try."""
        began, commit = self._clock(), self._unsafe
        if commit is None:
            commit = drain(
                self._compiled,
                self._fold,
                self._windows,
                self._claim,
                self._committed,
                self._traces,
                self._now_ms(),
            )
            self._unsafe, self._traces = commit, []
        try:
            await self._store.commit(self._compiled.name, self._tp.partition, commit)
        except Superseded:
            metrics.SUPERSEDED.labels(self._tp.topic).inc()
            raise
        self._unsafe = None
        took = self._clock() - began
        self._measure(commit, took)
        self._committed = commit.position
        self._windows.drop_sealed(self._fold.watermark)
        self._checked = self._clock()
        self._due = self._checked + max(self._pace.interval_s, REST * min(took, self._took))
        self._took = took

    def _report_gap(self, stamp: Stamp) -> None:
        """Passing while a zombie's records are skipped; one that stays means that verdicts are missing."""
        metrics.ACCEPTANCE_GAPS.labels(self._tp.topic).inc()
        logger.error(
            "%s/%d: a verdict goes on at raw offset %d, the accepted ones end at %d: what is between has none",
            *self._tp,
            stamp.base,
            self._fold.acceptance.next,
        )

    def _measure(self, commit: Commit, seconds: float) -> None:
        topic = self._tp.topic
        metrics.COMMIT_SECONDS.labels(topic).observe(seconds)
        metrics.COMMIT_ROWS.labels(topic).inc(sum(len(rows) for rows in commit.windows.values()))
        for outcome, count in self._fold.outcomes.items():
            metrics.OUTCOMES.labels(topic, outcome).inc(count)
        self._fold.outcomes.clear()
        for table, labels in zip(self._compiled.plan.tables, self._windows.labels, strict=True):
            metrics.LABEL_OVERFLOW.labels(table.id).inc(labels.overflowed)
            labels.overflowed = 0
        metrics.WATERMARK_MS.labels(*self._tp).set(self._fold.watermark)
        metrics.WINDOWS.labels(*self._tp).set(self._windows.open)

    async def _settle(self) -> None:
        """Let the others' windows settle without this idle partition. Display only: what fails is tried again."""
        others = [p for p in range(self._compiled.partitions) if p != self._tp.partition]
        name, own = self._compiled.name, self._tp.partition
        try:
            floor = max(await self._store.watermarks(name, others), default=0)
            if floor > self._fold.watermark:
                # Said again each time: the store, which may have lost it, knows whether it is new.
                await self._store.settle(name, own, settlement(self._fold, self._claim, floor, self._now_ms()))
        except Transient as error:
            logger.info("%s/%d is idle and could not say so: %s", *self._tp, error)
