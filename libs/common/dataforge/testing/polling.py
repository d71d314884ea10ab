"""The transport's part over an in-memory log: opens the partitions, seeks, and polls where there is room."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from dataforge.runtime.watchdog import Watchdog
from dataforge.stream.lanes import Lanes
from dataforge.stream.records import TopicPartition
from dataforge.stream.work import Source
from dataforge.testing.log import MemoryLog


class Polling:
    """One worker process over `log`. It can be run several times, as one that is assigned again and again."""

    def __init__(self, log: MemoryLog, sources: Sequence[Source], *, size: int = 7, tick_s: float = 0.001) -> None:
        self._log, self._size = log, size
        self._at: dict[TopicPartition, int] = {}
        self._failure: BaseException | None = None
        self.lanes = Lanes(
            sources,
            fail=lambda _, error: self._failed(error),
            watchdog=Watchdog(60),
            close_deadline_s=10,
            tick_s=tick_s,
        )
        self.lanes.seek = self._at.__setitem__

    def _failed(self, error: BaseException) -> None:
        self._failure = self._failure or error

    async def to_the_end(self, tps: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Read each partition to the end it has, then close. Returns where the log was sought first.

        *Raises* what a real process would have left with.
        """
        sought = await self.lanes.open(tps)
        self._at.update(sought or {})
        while self._failure is None and any(
            lane.next < self._log.end(tp) for tp, lane in self.lanes.snapshot().items()
        ):
            for tp in self.lanes.roomy():
                batch = self._log.fetch(tp, self._at[tp], self._size)
                if batch.next > batch.start:
                    self._at[tp] = batch.next
                    self.lanes.offer(batch)
            await asyncio.sleep(0)
        await self.lanes.close()
        if self._failure is not None:
            raise self._failure
        return sought or {}
