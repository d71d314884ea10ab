"""The program `lake stream`: rounds over every event until it is told to stop, and what can be seen of them.

Each round takes what is new of the judged log into bronze, one commit; lets silver follow; and, where asked to, gold.
All of Spark's work is done by one thread, one piece after the other: a stop comes between two of them.

Guarantees: none of its own; the jobs give them. Killed at any moment it goes on from what the tables say.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_delay,
    stop_when_event_set,
    wait_random_exponential,
)

from dataforge.contracts.model import EventType
from dataforge.errors import Transient
from dataforge.runtime import metrics
from dataforge.runtime.tracing import work_span
from dataforge.runtime.watchdog import Watchdog

from lake.failures import named
from lake.jobs.silver import Step
from lake.jobs.stream import Progress

logger = logging.getLogger(__name__)

HANGS_S = 600.0
"""A piece of work that takes longer ends the process."""
AWAY_S = 120.0
"""So long a server may be away until the process ends, and its supervisor tries."""
REST = 4
"""Silver rests this many times as long as it has worked: its `MERGE` reads the ids of the whole table, so the larger
that is, the more rows it takes at once. At most a fifth of the time goes there.
"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Jobs:
    """What is done for an event (and its partitions), at most one commit each. They block. *Raise* `Transient`."""

    bronze: Callable[[EventType, int], Progress]
    silver: Callable[[EventType], Step]
    gold: Callable[[EventType], Step]


@dataclass(slots=True)
class Follower:
    """When a layer is due that follows the one below it."""

    every_s: float
    due_s: float = 0.0
    behind: bool = True

    def due(self, now_s: float) -> bool:
        return self.behind and now_s >= self.due_s

    def done(self, began_s: float, now_s: float, left: int) -> None:
        """Where it has not got all of it, it goes on without a rest."""
        rest_s = 0.0 if left else max(self.every_s, REST * (now_s - began_s))
        self.behind, self.due_s = bool(left), now_s + rest_s


@dataclass(slots=True)
class Lane:
    """One event."""

    event: EventType
    partitions: int
    silver: Follower
    gold: Follower | None
    """None: no gold."""
    problem: str | None = "nothing taken yet"
    """For /readyz."""
    positions: Mapping[int, int] = field(default_factory=dict[int, int])
    """Of bronze, as this program saw them last: whoever else moved them, silver has to follow."""


@dataclass(slots=True)
class Streaming:
    jobs: Jobs
    events: Sequence[tuple[EventType, int]]
    """With their partitions."""
    interval_s: float
    gold_every_s: float | None = None
    clock: Callable[[], float] = time.monotonic
    watchdog: Watchdog = field(default_factory=lambda: Watchdog(HANGS_S))
    lanes: list[Lane] = field(init=False)
    _spark: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "spark"))

    def __post_init__(self) -> None:
        gold_s = self.gold_every_s
        self.lanes = [
            Lane(event, partitions, Follower(0.0), None if gold_s is None else Follower(gold_s))
            for event, partitions in self.events
        ]

    @property
    def checks(self) -> Mapping[str, Callable[[], str | None]]:
        """Ready is an event whose last round went well."""
        return {lane.event.contract.name: lambda lane=lane: lane.problem for lane in self.lanes}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. *Raises* `Fatal`, `Transient` where a server is away for too long, and what Spark raises."""
        self.watchdog.start()
        try:
            while not stop.is_set():
                lags = [await self._round(lane, stop) for lane in self.lanes]
                if not any(lags):
                    await _wait(stop, self.interval_s)
        finally:
            self.watchdog.stop()
            self._spark.shutdown()

    async def _round(self, lane: Lane, stop: asyncio.Event) -> int:
        """Returns how many records are left."""
        try:
            progress = await self._bronze(lane, stop)
            if progress.positions != lane.positions:
                lane.silver.behind, lane.positions = True, progress.positions
            left = progress.lag
            if lane.silver.due(self.clock()) and not stop.is_set():
                left += await self._follow(lane, "silver", lane.silver, self.jobs.silver, stop)
                if lane.gold is not None:
                    lane.gold.behind = True
            if lane.gold is not None and lane.gold.due(self.clock()) and not stop.is_set():
                await self._follow(lane, "gold", lane.gold, self.jobs.gold, stop)
        except Transient:
            if stop.is_set():
                return 0
            raise
        lane.problem = None
        return left

    async def _bronze(self, lane: Lane, stop: asyncio.Event) -> Progress:
        contract = lane.event.contract
        with work_span("bronze", {"dataforge.event": contract.name}) as span:
            began_s = self.clock()
            progress = await self._done(lane, "bronze", lambda: self.jobs.bronze(lane.event, lane.partitions), stop)
            span.set_attributes({"dataforge.records": progress.records, "dataforge.lag": progress.lag})
            for partition, position in progress.positions.items():
                labels = (contract.judged_topic, str(partition))
                span.set_attribute(f"dataforge.position.{partition}", position)
                metrics.RECORDS.labels(*labels).inc(position - progress.before[partition])
                metrics.POSITION.labels(*labels).set(position)
                metrics.LAG.labels(*labels).set(max(0, progress.ends[partition] - position))
        if progress.records:
            _committed(contract.name, "bronze", self.clock() - began_s)
        return progress

    async def _follow(
        self, lane: Lane, layer: str, follower: Follower, job: Callable[[EventType], Step], stop: asyncio.Event
    ) -> int:
        """Returns how many records are left."""
        name = lane.event.contract.name
        with work_span(layer, {"dataforge.event": name}) as span:
            began_s = self.clock()
            step = await self._done(lane, layer, lambda: job(lane.event), stop)
            follower.done(began_s, self.clock(), step.left)
            span.set_attributes({"dataforge.commits": step.commits, "dataforge.lag": step.left})
        if step.commits:
            _committed(name, layer, self.clock() - began_s)
        return step.left

    async def _done(self, lane: Lane, what: str, work: Callable[[], T], stop: asyncio.Event) -> T:
        """The one place where what is `Transient` is tried again. Each time from what the tables say."""
        name = lane.event.contract.name

        async def once() -> T:
            with self.watchdog.watch(f"{what} of {name}"):
                return await self._in_sparks_thread(work)

        def away(state: RetryCallState) -> None:
            error = state.outcome and state.outcome.exception()
            lane.problem = f"{what}: {error}"
            logger.warning("%s of %s is tried again: %s", what, name, error)

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Transient),
            wait=wait_random_exponential(multiplier=0.2, max=10),
            stop=stop_when_event_set(stop) | stop_after_delay(AWAY_S),  # pyright: ignore[reportArgumentType]
            sleep=lambda seconds: _wait(stop, seconds),
            before_sleep=away,
            reraise=True,
        )
        return await retrying(once)

    def _in_sparks_thread(self, work: Callable[[], T]) -> Awaitable[T]:
        def understood() -> T:
            with named():
                return work()

        return asyncio.get_running_loop().run_in_executor(self._spark, understood)


def _committed(event: str, layer: str, seconds: float) -> None:
    metrics.LAKE_COMMITS.labels(event, layer).inc()
    metrics.LAKE_SECONDS.labels(event, layer).observe(seconds)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
