"""The partitions assigned to this process: each a lane whose work runs in order, beside the others.

Pure asyncio: knows neither Faust nor Kafka, and is tested without them. The transport asks which lanes
have room, hands them batches, and seeks where they ask.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from dataforge.errors import Fatal, Transient
from dataforge.runtime import metrics
from dataforge.runtime.watchdog import Watchdog
from dataforge.stream.records import RecordBatch, TopicPartition
from dataforge.stream.work import PartitionWork, Source

logger = logging.getLogger(__name__)

QUEUED_BATCHES = 1
"""Behind the one in hand. More only keeps more records alive, which costs garbage collections."""
TICK_S = 0.05
_MAX_BACKOFF_S = 10

T = TypeVar("T")
Fail = Callable[[str, BaseException], None]
"""Ends the process with nothing committed: what was being done, and the error."""


class Closing(Exception):
    """The lane closes while its work backs off."""


class Lane:
    """One partition. `take` and `tick` run in one task, so never at the same time (see `PartitionWork`)."""

    def __init__(
        self,
        tp: TopicPartition,
        work: PartitionWork,
        *,
        seek: Callable[[TopicPartition, int], None],
        roomy: Callable[[], None],
        fail: Fail,
        watchdog: Watchdog,
        tick_s: float = TICK_S,
    ) -> None:
        self.tp = tp
        self.work = work
        self.next = -1
        """Where the next take must begin; -1 until `open` has returned."""
        self._queue: deque[RecordBatch] = deque()
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._seek, self._roomy, self._fail, self._watchdog, self._tick_s = seek, roomy, fail, watchdog, tick_s
        self._name = f"{tp.topic}/{tp.partition}"
        self._batches = metrics.BATCHES.labels(*tp)
        self._records = metrics.RECORDS.labels(*tp)
        self._take_seconds = metrics.TAKE_SECONDS.labels(tp.topic)

    @property
    def has_room(self) -> bool:
        return self._task is not None and len(self._queue) < QUEUED_BATCHES and not self._closing.is_set()

    async def open(self) -> int:
        """Claim and load; retried while `Transient`. Returns the offset to seek to."""
        started = time.monotonic()
        self.next = await self._retrying("open", self.work.open)
        metrics.OPEN_SECONDS.labels(self.tp.topic).observe(time.monotonic() - started)
        self._task = asyncio.create_task(self._run(), name=f"lane {self._name}")
        return self.next

    def offer(self, batch: RecordBatch) -> None:
        self._queue.append(batch)
        self._wake.set()

    async def close(self) -> None:
        """Let the batch in hand finish, drop the queued ones, then close the work. Never opened: nothing to do."""
        self._closing.set()
        self._wake.set()
        self._queue.clear()
        if self._task is not None:
            await self._task
        if self._task is not None:  # still: the work has not failed
            try:
                await self.work.close()
            except Transient as error:
                # What is not safe is not lost: the next owner reads it again.
                logger.warning("%s closes with work that is not safe: %s", self._name, error)

    async def _run(self) -> None:
        doing = "tick"
        try:
            tick_at = time.monotonic() + self._tick_s
            while not self._closing.is_set():
                await self._wait(tick_at)
                if self._queue:
                    doing = "take"
                    await self._take(self._next_batch())
                if time.monotonic() >= tick_at and not self._closing.is_set():
                    doing = "tick"
                    await self._retrying(doing, self.work.tick)
                    tick_at = time.monotonic() + self._tick_s
        except Closing:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the process must not go on
            self._closing.set()
            self._task = None  # nothing of this work is called any more
            self._fail(f"{doing} {self._name}", error)

    async def _wait(self, until: float) -> None:
        """Until there is a batch, a tick is due, or the lane closes."""
        if self._queue or (left_s := until - time.monotonic()) <= 0:
            # A lane that is always busy must still let the others, and the heartbeat, run.
            await asyncio.sleep(0)
            return
        self._wake.clear()
        try:
            async with asyncio.timeout(left_s):
                await self._wake.wait()
        except TimeoutError:
            return

    def _next_batch(self) -> RecordBatch:
        batch = self._queue.popleft()
        self._roomy()
        return batch

    async def _take(self, batch: RecordBatch) -> None:
        """The core rule: only the batch that begins where the last one ended counts."""
        if batch.start < self.next:
            metrics.STALE_BATCHES.labels(self.tp.topic).inc()
            return
        if batch.start > self.next:
            metrics.GAPS.labels(self.tp.topic).inc()
            logger.warning("gap in %s: %d came, %d was due; seeking again", self._name, batch.start, self.next)
            self._queue.clear()
            self._seek(self.tp, self.next)
            self._roomy()
            return
        started = time.monotonic()
        await self._retrying("take", lambda: self.work.take(batch))
        self.next = batch.next
        self._batches.inc()
        self._records.inc(len(batch.records))
        self._take_seconds.observe(time.monotonic() - started)

    async def _retrying(self, doing: str, call: Callable[[], Awaitable[T]]) -> T:
        """Call it, again and again while it is `Transient`. *Raises* `Closing`, and whatever else it raises."""
        watched = f"{doing} {self._name}"

        async def once() -> T:
            with self._watchdog.watch(watched):
                return await call()

        try:
            return await once()
        except Transient as error:
            self._note(watched, error)
            await self._pause(error.retry_after_s)
        # Only the unhappy path pays for the machinery.
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Transient),
            wait=_backoff,
            sleep=self._pause,
            before_sleep=lambda state: self._note(watched, _error(state)),
        )
        return await retrying(once)

    def _note(self, watched: str, error: BaseException | None) -> None:
        metrics.TRANSIENTS.labels(self.tp.topic).inc()
        logger.warning("%s is put back: %s", watched, error)

    async def _pause(self, delay_s: float) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await self._closing.wait()
        except TimeoutError:
            return
        raise Closing


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


_jitter = wait_random_exponential(multiplier=0.1, max=_MAX_BACKOFF_S)


def _backoff(state: RetryCallState) -> float:
    error = _error(state)
    least_s = error.retry_after_s if isinstance(error, Transient) else 0
    return max(least_s, _jitter(state))


class Lanes:
    """The lanes of all sources of a process.

    *Guarantees*: between `open` and `close` each assigned partition has exactly one open work; a missed
    deadline, or an error that is not `Transient`, ends the process through `fail`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        fail: Fail,
        watchdog: Watchdog,
        open_deadline_s: float,
        close_deadline_s: float,
        tick_s: float = TICK_S,
    ) -> None:
        self._source_of = {topic: source for source in sources for topic in source.topics}
        if len(self._source_of) != sum(len(source.topics) for source in sources):
            raise Fatal("two sources name the same topic: a partition has one position, so one source")
        self._fail, self._watchdog, self._tick_s = fail, watchdog, tick_s
        self._open_deadline_s, self._close_deadline_s = open_deadline_s, close_deadline_s
        self._lanes: dict[TopicPartition, Lane] = {}
        self._opening: asyncio.Task[dict[TopicPartition, int]] | None = None
        self._room: asyncio.Future[None] | None = None
        self.ready = False
        """Assigned, and every assigned partition (maybe none) is open."""
        self.seek: Callable[[TopicPartition, int], None] = lambda *_: None
        """Where the next poll of a partition shall begin; the transport puts its own here."""

    @property
    def topics(self) -> Sequence[str]:
        return list(self._source_of)

    def roomy(self) -> set[TopicPartition]:
        """The partitions a poll may bring batches for."""
        return {tp for tp, lane in self._lanes.items() if lane.has_room}

    def when_roomy(self, waiter: asyncio.Future[None]) -> None:
        """Wake this future when a lane gets room."""
        self._room = waiter

    def _on_roomy(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def offer(self, batch: RecordBatch) -> None:
        """Queue a batch. One for a partition that is no longer here is dropped: its new owner reads it."""
        if (lane := self._lanes.get(batch.tp)) is not None:
            lane.offer(batch)

    def snapshot(self) -> Mapping[TopicPartition, Lane]:
        """The lanes there are now; they survive a `close`, for last words about them."""
        return {tp: lane for tp, lane in self._lanes.items() if lane.next >= 0}

    def positions(self) -> Mapping[TopicPartition, int]:
        """Next offset whose work is not yet safe, of each open partition."""
        return {tp: lane.work.position for tp, lane in self._lanes.items() if lane.next >= 0}

    async def open(self, tps: Iterable[tuple[str, int]]) -> Mapping[TopicPartition, int] | None:
        """Open every partition; returns where to seek, or None where `close` came in between.

        A failed open, or one that outlasts the deadline, ends the process.
        """
        await self.close()
        self._opening = asyncio.create_task(self._open_all([TopicPartition(*tp) for tp in tps]))
        try:
            seeks = await self._opening
        except asyncio.CancelledError:
            if self._opening is None:
                return None
            self._opening.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - see Guarantees
            self._fail("open", error)
            return None
        self._opening = None
        self.ready = True
        counts = dict.fromkeys((source.name for source in self._source_of.values()), 0)
        for tp in seeks:
            counts[self._source_of[tp.topic].name] += 1
        for name, number in counts.items():
            metrics.ASSIGNED.labels(name).set(number)
        logger.info("partitions are open", extra={"positions": {f"{t}/{p}": at for (t, p), at in seeks.items()}})
        return seeks

    async def _open_all(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        for tp in tps:
            self._lanes[tp] = Lane(
                tp,
                self._source_of[tp.topic].open_partition(tp),
                seek=lambda tp, offset: self.seek(tp, offset),
                roomy=self._on_roomy,
                fail=self._fail,
                watchdog=self._watchdog,
                tick_s=self._tick_s,
            )
        try:
            async with asyncio.timeout(self._open_deadline_s):
                offsets = await asyncio.gather(*(self._lanes[tp].open() for tp in tps))
        except TimeoutError as error:
            raise Fatal(f"opening {len(tps)} partitions took longer than {self._open_deadline_s} s") from error
        return dict(zip(tps, offsets, strict=True))

    async def close(self) -> None:
        """Close every open partition within the deadline, and forget them all. Repeating it does nothing."""
        self.ready = False
        if (opening := self._opening) is not None:
            self._opening = None
            opening.cancel()
            await asyncio.wait([opening])
        lanes, self._lanes = self._lanes, {}
        if not lanes:
            return
        try:
            async with asyncio.timeout(self._close_deadline_s):
                await asyncio.gather(*(lane.close() for lane in lanes.values()))
        except TimeoutError as error:
            missed = Fatal(f"closing took longer than {self._close_deadline_s} s")
            missed.__cause__ = error
            self._fail("close", missed)
        except Exception as error:  # noqa: BLE001 - see Guarantees
            self._fail("close", error)
        for tp in lanes:
            for gauge in (metrics.POSITION, metrics.LAG):
                gauge.remove(*map(str, tp))
