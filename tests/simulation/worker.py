"""A worker process below Faust: the service's own sources in real lanes, fed by a simulated consumer."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random

from dataforge.errors import Fatal
from dataforge.runtime.watchdog import Watchdog
from dataforge.stream.lanes import Lanes
from dataforge.stream.records import TopicPartition
from dataforge.stream.work import Source
from dataforge.testing.log import MemoryLog

from simulation.loop import Process

CLOSE_S = 5.0
TICK_S = 0.3
POLL_S = 1.0
MAX_POLL = 8


class Worker:
    """One life of a process. It ends by `kill`, or by itself where its work fails."""

    def __init__(
        self,
        process: Process,
        sources: Sequence[Source],
        log: MemoryLog,
        random: Random,
        died: Callable[["Worker", str], None],
    ) -> None:
        self.process, self._log, self._random, self._died = process, log, random, died
        self.lanes = Lanes(
            sources,
            fail=self._fail,
            watchdog=Watchdog(60),
            close_deadline_s=CLOSE_S,
            tick_s=TICK_S,
        )
        self.lanes.seek = self._seek
        self._taken: dict[TopicPartition, int] = {}
        self._waiter: asyncio.Future[None] | None = None
        self._assigned: asyncio.Task[None] | None = None
        process.spawn(self._consume())

    def _fail(self, doing: str, error: BaseException) -> None:
        """As `process.die`: nothing of this process runs any more."""
        if self.process.alive:
            self.kill()
            self._died(self, f"{doing}: {type(error).__name__}: {error}")

    def kill(self) -> None:
        self.process.kill()

    # ---- the group
    def assign(self, tps: Collection[TopicPartition]) -> None:
        """A rebalance that this process has heard of: revoke all, then open what is assigned now."""
        before = self._assigned
        self._assigned = self.process.spawn(self._rebalance(before, sorted(tps)))

    async def _rebalance(self, before: "asyncio.Task[None] | None", tps: Sequence[TopicPartition]) -> None:
        await self.lanes.close()
        self._taken.clear()
        if before is not None:
            await asyncio.wait([before])
        seeks: Mapping[TopicPartition, int] | None = await self.lanes.open(tps)
        for tp, offset in (seeks or {}).items():
            self._seek(tp, offset)
        self.wake()

    def _seek(self, tp: TopicPartition, offset: int) -> None:
        self._taken[tp] = offset

    # ---- records
    def wake(self) -> None:
        """There may be something to poll."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _consume(self) -> None:
        loop, random = asyncio.get_running_loop(), self._random
        while self.process.alive:
            for tp in sorted(self.lanes.roomy()):
                if tp in self._taken and random.random() < 0.9:
                    await self._poll(tp)
            self._waiter = loop.create_future()
            self.lanes.when_roomy(self._waiter)
            if not any(self._behind(tp) for tp in self.lanes.roomy()):
                try:
                    async with asyncio.timeout(POLL_S):
                        await self._waiter
                except TimeoutError:
                    continue

    def _behind(self, tp: TopicPartition) -> bool:
        return self._taken.get(tp, self._log.end(tp)) < self._log.end(tp)

    async def _poll(self, tp: TopicPartition) -> None:
        start = self._taken[tp]
        try:
            batch = self._log.fetch(tp, start, self._random.randint(1, MAX_POLL))
        except Fatal as error:
            self._fail("poll", error)
            return
        if batch.next == start:
            return
        self._taken[tp] = batch.next
        # A batch is on its way while rebalances happen; whoever holds the partition then must know it for stale.
        await asyncio.sleep(self._random.choice((0, 0, 0.002, 0.05)))
        self.lanes.offer(batch)
