"""One assigned partition: its work runs in order, retried while `Transient`, under the core rule of batches."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from dataforge.errors import Held, Superseded, Transient
from dataforge.runtime import metrics
from dataforge.runtime.watchdog import Watchdog
from dataforge.stream.catch_up import CatchUp, compare
from dataforge.stream.origin import NO_ID
from dataforge.stream.records import RecordBatch, TopicPartition
from dataforge.stream.work import History, Log, PartitionWork

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
        log: Log | None = None,
        history: History | None = None,
    ) -> None:
        self.tp = tp
        self.work = work
        self.next = -1
        """Where the next take must begin; -1 until the work is open."""
        self.topic_id = NO_ID
        """Of the log that was opened."""
        self._queue: deque[RecordBatch] = deque()
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failed = False
        self._log, self._history = log, history
        self._catch_up: CatchUp | None = None
        """While the log does not hold what is due: its history feeds the lane, and polls do not."""
        self._feeder: asyncio.Task[None] | None = None
        self._seek, self._roomy, self._fail, self._watchdog, self._tick_s = seek, roomy, fail, watchdog, tick_s
        self._name = f"{tp.topic}/{tp.partition}"
        self._batches = metrics.BATCHES.labels(*tp)
        self._records = metrics.RECORDS.labels(*tp)
        self._take_seconds = metrics.TAKE_SECONDS.labels(tp.topic)

    @property
    def has_room(self) -> bool:
        """For a poll's batch."""
        return self._catch_up is None and self._task is not None and self._free and not self._closing.is_set()

    @property
    def _free(self) -> bool:
        return len(self._queue) < QUEUED_BATCHES

    @property
    def standby(self) -> int:
        """Where the log's consumer shall be: where the next take begins, or as near to it as the log goes."""
        return self._catch_up.standby if self._catch_up is not None else self.next

    async def open(self) -> None:
        """Claim, load and compare with the log; retried while `Transient`."""
        started = _now_s()
        self.next = await self._retrying("open", self.work.open)
        if (log := self._log) is not None:
            await self._retrying("compare", lambda: self._compare(log))
        metrics.OPEN_SECONDS.labels(self.tp.topic).observe(_now_s() - started)
        self._task = asyncio.create_task(self._run(), name=f"lane {self._name}")
        if self._catch_up is not None:
            self._feeder = asyncio.create_task(self._feed(self._catch_up), name=f"catch up {self._name}")

    async def _compare(self, log: Log) -> None:
        origin = self.work.origin
        bounds = await compare(log, self.tp, self.next, origin)
        self.topic_id = bounds.topic_id
        catch_up = CatchUp(self.tp, log, self._history, self.next, origin, bounds)
        self._catch_up = catch_up if catch_up.needed else None

    def offer(self, batch: RecordBatch) -> None:
        self._queue.append(batch)
        self._wake.set()

    async def close(self) -> None:
        """Let the batch in hand finish, drop the queued ones, then close the work. Never opened: nothing to do."""
        self._closing.set()
        self._wake.set()
        if self._feeder is not None:
            self._feeder.cancel()
            await asyncio.wait([self._feeder])
        self._queue.clear()
        if self._task is not None:
            await self._task
        if self._task is not None and not self._failed:
            try:
                await self.work.close()
            except (Transient, Superseded) as error:
                self._given_up(error)

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
            self._leave(doing, error)

    def _given_up(self, error: Exception) -> None:
        """What is not safe is not lost: the next owner, or the one there is already, reads it again."""
        logger.warning("%s closes with work that is not safe: %s", self._name, error)

    async def _feed(self, catch_up: CatchUp) -> None:
        """Batches from the log's history, until the log holds what follows; then polls bring them."""
        try:
            # Nothing watches for a stall here: it may take long, and what it waits for has bounds of its own.
            following = await self._again("catch up", lambda: catch_up.run(self._offer_when_free))
            self._seek(self.tp, following)
        except Closing:
            return
        except Exception as error:  # noqa: BLE001 - as above
            self._leave("catch up", error)
            return
        self._catch_up = None
        self._roomy()

    async def _offer_when_free(self, batch: RecordBatch) -> None:
        while not self._free:
            self._room.clear()
            await self._room.wait()
        self.offer(batch)

    def _leave(self, doing: str, error: Exception) -> None:
        """Nothing of this work is called any more. Superseded while it closes: it gives the partition up anyway."""
        given_up = isinstance(error, Superseded) and self._closing.is_set()
        self._closing.set()
        self._wake.set()
        self._failed = True
        if given_up:
            self._given_up(error)
        else:
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
        self._room.set()
        self._roomy()
        return batch

    async def _take(self, batch: RecordBatch) -> None:
        """The core rule: only the batch that begins where the last one ended counts."""
        if batch.start < self.next:
            metrics.STALE_BATCHES.labels(self.tp.topic).inc()
            # What a rebalance overtook may end beyond what is due: the consumer will not bring that end again.
            if batch.next > self.next:
                self._seek(self.tp, self.next)
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
        """Watched for a stall, and called again and again while it is `Transient`."""
        watched = f"{doing} {self._name}"

        async def once() -> T:
            with self._watchdog.watch(watched):
                return await call()

        return await self._again(doing, once)

    async def _again(self, doing: str, call: Callable[[], Awaitable[T]]) -> T:
        """*Raises* `Closing`, and whatever it raises that is not `Transient`."""
        named = f"{doing} {self._name}"
        try:
            return await call()
        except Transient as error:
            self._note(named, error)
            await self._pause(error.retry_after_s)

        async def again() -> T:  # a coroutine function: of any other one tenacity would not await the result
            return await call()

        # Only the unhappy path pays for the machinery.
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Transient),
            wait=_backoff,
            sleep=self._pause,
            before_sleep=lambda state: self._note(named, _error(state)),
        )
        return await retrying(again)

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
