"""One partition's chain of objects: one PUT in flight, and the store decides who wrote (DESIGN R5)."""

import asyncio
from collections.abc import Awaitable, Callable

from dataforge.errors import Fatal, Superseded, Transient
from dataforge.runtime import metrics
from dataforge.runtime.tracing import batch_trace
from dataforge.storage.chain import Chain
from dataforge.storage.landing_file import Footer, encode
from dataforge.storage.objects import ObjectStore
from dataforge.stream.judged import Acceptance
from dataforge.stream.records import Record, RecordBatch, TopicPartition

from landing_worker.land import Buffer, Chained, Limits, same_object

MAX_BUFFERED = 3
"""Objects' worth of records held while a PUT is in flight; then `take` waits."""

RecordAt = Callable[[TopicPartition, int], Awaitable[Record | None]]
"""The log's record at an offset; None where the log no longer holds it."""


class LandingPartition:
    """A `PartitionWork` over one raw or judged partition.

    *Guarantees*: the partition's objects form a chain without gap or overlap, whatever crashes, times out or
    writes beside it: a key is where the object before ended, and is created once. A PUT whose result is
    unknown is tried again under the same key with the same bytes.
    """

    def __init__(
        self, tp: TopicPartition, store: ObjectStore, clock: Callable[[], float], topic_id: bytes, limits: Limits,
        record_at: RecordAt, *, judged: bool,
    ) -> None:  # fmt: skip
        self._tp, self._store, self._clock, self._limits = tp, store, clock, limits
        self._chain = Chain(store, *tp)
        self._topic_id, self._record_at, self._judged = topic_id.hex(), record_at, judged
        self._position = 0
        self._buffer = Buffer(0)
        self._chained = Chained(*tp, self._topic_id)
        self._putting: asyncio.Task[int] | None = None

    @property
    def position(self) -> int:
        return self._position

    async def open(self) -> int:
        end = await self._chain.end()
        if end.footer is not None:
            await self._check_same_log(end.footer)
        accepted = (end.footer.accepted_next or 0) if end.footer else 0
        self._chained = Chained(
            *self._tp,
            self._topic_id,
            Acceptance(accepted) if self._judged else None,
            end.footer.last_src if end.footer else None,
        )
        self._position = end.next
        self._buffer = Buffer(end.next)
        return end.next

    async def take(self, batch: RecordBatch) -> None:
        with batch_trace("land", *self._tp, batch.records):
            self._buffer.add(batch, self._clock())
        await self._put_if_due()
        while self._overfull():
            await self._settle()
            await self._put_if_due()

    async def tick(self) -> None:
        if self._putting and self._putting.done():
            await self._settle()
        await self._put_if_due()

    async def close(self) -> None:
        await self._settle()
        if self._buffer.records:
            self._begin_put()
            await self._settle()

    def _overfull(self) -> bool:
        rows = len(self._buffer.records) >= MAX_BUFFERED * self._limits.max_rows
        return self._putting is not None and (rows or self._buffer.bytes >= MAX_BUFFERED * self._limits.max_bytes)

    async def _put_if_due(self) -> None:
        if self._putting is None and self._buffer.due(self._limits, self._clock()):
            self._begin_put()

    def _begin_put(self) -> None:
        full, self._buffer = self._buffer, Buffer(self._buffer.next)
        footer = self._chained.footer(full)
        self._putting = asyncio.create_task(self._put(full.records, footer), name=f"put {self._chain.key(full.start)}")

    async def _settle(self) -> None:
        """Wait for the PUT in flight. *Raises* what it raised."""
        if self._putting:
            putting, self._putting = self._putting, None
            self._position = await putting

    async def _put(self, records: list[Record], footer: Footer) -> int:
        """Returns the position behind the object once it is there. The store has its own retries and their end."""
        key, topic = self._chain.key(footer.start), self._tp.topic
        data = await asyncio.to_thread(encode, records, footer)
        with metrics.PUT_SECONDS.labels(topic).time():
            try:
                created = await self._store.put_if_absent(key, data)
            except Transient as error:
                # The buffer is already given away and the result unknown: the next owner finds the chain's end.
                raise Fatal(f"{key} could not be put: {error}") from error
        if not created:
            metrics.LANDING_CONFLICTS.labels(topic).inc()
            theirs = await self._chain.footer(key)
            if not same_object(footer, theirs):
                raise Superseded(f"{key} was written by another worker; the chain's end decides where to go on")
        metrics.LANDED_ROWS.labels(topic).inc(footer.count)
        metrics.LANDED_BYTES.labels(topic).inc(len(data))
        metrics.LANDED_OBJECTS.labels(topic).inc()
        return footer.next

    async def _check_same_log(self, footer: Footer) -> None:
        """*Raises* `Fatal` where the topic is not the one whose records were landed (DESIGN R6b)."""
        where = f"{self._tp.topic}/{self._tp.partition}"
        if footer.topic_id != self._topic_id:
            raise Fatal(
                f"{where} was recreated: its id is {self._topic_id}, the landed records came from {footer.topic_id}. "
                "Give the event a new version, or move its objects under landing/ away"
            )
        record = await self._record_at(self._tp, footer.fp.offset)
        if record is not None and record.timestamp != footer.fp.timestamp:
            raise Fatal(
                f"{where} holds another record at offset {footer.fp.offset} than the one landed: the log was replaced. "
                "Restore it, or move its objects under landing/ away"
            )
