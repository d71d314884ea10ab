"""One assigned partition: its work runs in order, retried while `Transient`, under the core rule of batches."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from dataforge.errors import Held, Transient
from dataforge.runtime import metrics
from dataforge.runtime.watchdog import Watchdog
from dataforge.stream.records import RecordBatch, TopicPartition
from dataforge.stream.work import PartitionWork

logger = logging.getLogger(__name__)

QUEUED_BATCHES = 1
"""Behind the one in hand. More only keeps more records alive, which costs garbage collections."""
TICK_S = 0.05
_MAX_BACKOFF_S = 10

T = TypeVar("T")
Fail = Callable[[str, BaseException], None]
"""Ends the process with nothing committed: what was being done, and the error."""


def _now_s() -> float:
    """The running loop's clock: monotonic, and virtual in a simulation."""
    return asyncio.get_running_loop().time()


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
        started = _now_s()
        self.next = await self._retrying("open", self.work.open)
        metrics.OPEN_SECONDS.labels(self.tp.topic).observe(_now_s() - started)
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
            tick_at = _now_s() + self._tick_s
            while not self._closing.is_set():
                await self._wait(tick_at)
                if self._queue:
                    doing = "take"
                    await self._take(self._next_batch())
                if _now_s() >= tick_at and not self._closing.is_set():
                    doing = "tick"
                    await self._retrying(doing, self.work.tick)
                    tick_at = _now_s() + self._tick_s
        except Closing:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the process must not go on
            self._closing.set()
            self._task = None  # nothing of this work is called any more
            self._fail(f"{doing} {self._name}", error)

    async def _wait(self, until: float) -> None:
        """Until there is a batch, a tick is due, or the lane closes."""
        if self._queue or (left_s := until - _now_s()) <= 0:
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
        started = _now_s()
        await self._retrying("take", lambda: self.work.take(batch))
        self.next = batch.next
        self._batches.inc()
        self._records.inc(len(batch.records))
        self._take_seconds.observe(_now_s() - started)

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
        if isinstance(error, Held):
            return
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
    if isinstance(error, Held):
        return error.retry_after_s
    least_s = error.retry_after_s if isinstance(error, Transient) else 0
    return max(least_s, _jitter(state))
