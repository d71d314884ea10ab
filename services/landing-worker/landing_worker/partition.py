"""One partition's chain of objects: one PUT in flight, and the store decides who wrote (DESIGN R5)."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from dataforge.errors import Superseded, Transient
from dataforge.runtime import metrics
from dataforge.runtime.tracing import batch_trace
from dataforge.storage.chain import Chain
from dataforge.storage.landing_file import Footer
from dataforge.storage.objects import ObjectStore
from dataforge.stream.origin import Origin
from dataforge.stream.records import RecordBatch, TopicPartition
from dataforge.stream.work import Log

from landing_worker.land import LandedLog, Limits, Run, land

logger = logging.getLogger(__name__)

FLUSH_S = 3.0
"""Bound of the last PUTs while a partition closes; less than the runtime's bound of closing."""

SMALL_ROWS, SMALL_BYTES = 200, 64 * 1024
"""Up to here a thread costs more than it saves the loop (about half a millisecond)."""


@dataclass(slots=True)
class _Cut:
    """A run that is an object now: in flight, or waiting to be put again."""

    run: Run
    landed: tuple[Footer, bytes] | None = None
    """Made once: a PUT whose result is unknown is tried again with the same bytes."""


class LandingPartition:
    """A `PartitionWork` over one raw or judged partition.

    *Guarantees*: the partition's objects form a chain without gap or overlap, whatever crashes, times out or
    writes beside it: a key is where the object before it ended, and the store lets one writer create it.
    Memory: at most two objects and a batch; `take` waits while one object is in flight and the next is full.
    """

    def __init__(
        self, tp: TopicPartition, store: ObjectStore, log: Log, clock: Callable[[], float], limits: Limits, *,
        judged: bool,
    ) -> None:  # fmt: skip
        self._tp, self._store, self._log, self._clock, self._limits = tp, store, log, clock, limits
        self._landed = LandedLog(*tp, "", judged)
        self._chain = Chain(store, *self._tp)
        self._last: Footer | None = None
        self._run = Run(0)
        self._cut: _Cut | None = None
        self._putting: asyncio.Task[Footer] | None = None

    @property
    def position(self) -> int:
        """Where the chain ends, as far as this worker knows."""
        return self._last.next if self._last else 0

    @property
    def origin(self) -> Origin:
        said = self._last.topic_id if self._last else self._landed.topic_id
        return Origin(bytes.fromhex(said), self._last.fp if self._last else None)

    async def open(self) -> int:
        bounds = await self._log.bounds(self._tp)
        end = await self._chain.end(bounds.end)
        self._landed = self._landed._replace(topic_id=bounds.topic_id.hex())
        self._last, self._run = end.footer, Run(end.next)
        return end.next

    async def take(self, batch: RecordBatch) -> None:
        while self._cut is not None and self._run.full(self._limits):
            # Raises before the batch is kept: a put-back batch is taken once.
            await self._settle()
            self._begin_if_due()
        self._run.add(batch, self._clock())
        self._begin_if_due()

    async def tick(self) -> None:
        if self._putting is not None and self._putting.done():
            await self._settle()
        self._begin_if_due()

    async def close(self) -> None:
        """Put what is held, if that is quick; what is left, the next owner reads again from the chain's end."""
        try:
            async with asyncio.timeout(FLUSH_S):
                while self._cut is not None or self._run.records:
                    self._begin_if_due(closing=True)
                    await self._settle()
        except (TimeoutError, Transient) as error:
            logger.warning("%s closes with records that are not landed: %r", self._chain.prefix, error)

    def _begin_if_due(self, *, closing: bool = False) -> None:
        if self._cut is None and (self._run.due(self._limits, self._clock()) or (closing and self._run.records)):
            self._cut, self._run = _Cut(self._run), Run(self._run.next)
        if self._cut is not None and self._putting is None:
            self._putting = asyncio.create_task(
                self._put(self._cut), name=f"put {self._chain.key(self._cut.run.start)}"
            )

    async def _settle(self) -> None:
        """Wait for the PUT in flight. *Raises* what it raised; after `Transient` the next one is the same again."""
        if self._putting is None:
            return
        putting, self._putting = self._putting, None
        self._last = await putting
        self._cut = None

    async def _put(self, cut: _Cut) -> Footer:
        """Returns the object's footer once the chain holds it. *Raises* `Transient`, `Superseded`."""
        topic = self._tp.topic
        with batch_trace("land", *self._tp, cut.run.records):
            if cut.landed is None:
                cut.landed = await self._land(cut.run)
            footer, data = cut.landed
            with metrics.PUT_SECONDS.labels(topic).time():
                created = await self._store.put_if_absent(self._chain.key(footer.start), data)
            if not created:
                await self._check_own(footer)
        metrics.LANDED_ROWS.labels(topic).inc(footer.count)
        metrics.LANDED_BYTES.labels(topic).inc(len(data))
        metrics.LANDED_OBJECTS.labels(topic).inc()
        return footer

    async def _land(self, run: Run) -> tuple[Footer, bytes]:
        if len(run.records) <= SMALL_ROWS and run.bytes <= SMALL_BYTES:
            return land(self._landed, self._last, run)
        return await asyncio.to_thread(land, self._landed, self._last, run)

    async def _check_own(self, footer: Footer) -> None:
        """The key exists. An own PUT that timed out and was done all the same? *Raises* `Superseded` otherwise."""
        end = await self._chain.end(footer.next)
        if end.footer != footer:
            metrics.LANDING_CONFLICTS.labels(self._tp.topic).inc()
            raise Superseded(
                f"{self._chain.key(footer.start)} was written by another worker; the chain ends at {end.next} now, "
                "and whoever opens the partition next goes on there"
            )
