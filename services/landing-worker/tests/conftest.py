"""A partition's log and its store, and workers that are driven as the runtime drives them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from dataforge.errors import Superseded, Transient
from dataforge.storage.chain import Chain
from dataforge.storage.memory import MemoryStore
from dataforge.stream.catch_up import CatchUp, compare
from dataforge.stream.judged import Acceptance
from dataforge.stream.origin import Bounds
from dataforge.stream.records import LogRecord, RecordBatch, TopicPartition

from landing_worker.land import Limits
from landing_worker.partition import LandingPartition

TURNS = 50
"""More turns of the loop than anything here needs to come to rest."""


class World:
    def __init__(self, *, judged: bool = False, limits: Limits = Limits(1.0, 4, 1 << 20)) -> None:  # noqa: B008
        self.tp = TopicPartition(f"{'judged' if judged else 'raw'}.shop.sale.v1", 0)
        self.judged, self.topic_id = judged, b"\xab" * 16
        self.limits = limits
        self.store = MemoryStore()
        self.log: list[LogRecord] = []
        self.begin = self.end = 0
        self.now_s = 0.0

    @property
    def chain(self) -> Chain:
        return Chain(self.store, *self.tp)

    def append(self, count: int, *, gap: int = 0, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """Records, and after them offsets that hold none."""
        for _ in range(count):
            self.log.append(LogRecord(self.end, 1_000 * self.end, b"k", b"v%d" % self.end, list(headers)))
            self.end += 1
        self.end += gap

    async def bounds(self, tp: TopicPartition) -> Bounds:
        return Bounds(self.topic_id, self.begin, self.end)

    async def topic_ids(self, topics: Sequence[str]) -> dict[str, bytes]:
        return dict.fromkeys(topics, self.topic_id)

    async def record_at(self, tp: TopicPartition, offset: int) -> LogRecord | None:
        return next((record for record in self.log if record.offset == offset), None)

    async def open(self) -> "Worker":
        worker = Worker(self)
        worker.next = await worker.work.open()
        bounds = await compare(self, self.tp, worker.next, worker.work.origin)
        catch_up = CatchUp(self.tp, self, None, worker.next, worker.work.origin, bounds)
        if catch_up.needed:
            await catch_up.run(worker.work.take)
        return worker

    async def drain(self) -> "Worker":
        """A new owner lands all there is and closes in peace; another one, where a PUT on its way was first."""
        while True:
            worker = await self.open()
            while worker.next < self.end and not worker.superseded:
                await worker.take(3)
            await worker.close()
            if not worker.superseded:
                return worker

    async def landed(self) -> list[LogRecord]:
        return [record async for _, records in self.chain.read(0) for record in records]

    async def assert_exact(self) -> None:
        """The chain verifies clean and holds the log, record by record; its footers tell the fold."""
        assert [problem async for problem in self.chain.verify()] == []
        assert await self.landed() == self.log
        acceptance, last_src = Acceptance(), None
        async for footer, records in self.chain.read(0):
            if self.judged:
                for _, stamp in acceptance.accepted(records):
                    last_src = (stamp.src, stamp.ts, stamp.crc)
                mark = footer.last_src
                assert footer.accepted_next == acceptance.next
                assert (mark and (mark.offset, mark.timestamp, mark.crc)) == last_src
            else:
                assert (footer.accepted_next, footer.last_src) == (None, None)


class Worker:
    """Calls its work as a lane does: a batch put back comes again, and after any other error nothing is called."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.work = LandingPartition(
            world.tp, world.store, world, lambda: world.now_s, world.limits, judged=world.judged
        )
        self.next = -1
        self.superseded = False

    async def take(self, size: int = 2) -> None:
        """The next batch, if there is one."""
        if self.superseded or self.next >= self._world.end:
            return
        records = [record for record in self._world.log if record.offset >= self.next][:size]
        rest = records and records[-1] is not self._world.log[-1]
        following = records[-1].offset + 1 if rest else self._world.end
        batch = RecordBatch(*self._world.tp, self.next, following, records)
        if await self._survives(self.work.take(batch)):
            self.next = following

    async def tick(self, seconds: float = 0.0) -> None:
        self._world.now_s += seconds
        if not self.superseded:
            await self._survives(self.work.tick())

    async def rest(self, seconds: float = 0.0) -> None:
        """Tick until nothing more can happen at this time."""
        await self.tick(seconds)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        await self.tick()

    async def close(self) -> None:
        if not self.superseded:
            await self._survives(self.work.close())

    async def _survives(self, call: Any) -> bool:
        try:
            await call
        except Transient:
            return False
        except Superseded:
            self.superseded = True
            return False
        return True


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    return World
