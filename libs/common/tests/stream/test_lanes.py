import asyncio
from collections.abc import Callable

import pytest

from dataforge.errors import Fatal, Held, Superseded, Transient
from dataforge.runtime.watchdog import Watchdog
from dataforge.stream.lanes import Lanes
from dataforge.stream.origin import Origin
from dataforge.stream.records import LogRecord, RecordBatch, TopicPartition
from dataforge.stream.work import Source

TP = TopicPartition("raw", 0)


def batch(start: int, after: int, tp: TopicPartition = TP) -> RecordBatch:
    return RecordBatch(*tp, start, after, [LogRecord(i, 0, None, b"") for i in range(start, after)])


class Work:
    """Remembers what the runtime did to it; `script` makes calls fail, in order."""

    def __init__(self, tp: TopicPartition, start: int = 0, script: dict[str, list[Exception | None]] | None = None):
        self.tp, self.position, self.start = tp, start, start
        self.calls: list[str] = []
        self.taken: list[int] = []
        self.ticked, self.changed = asyncio.Event(), asyncio.Condition()
        self.script = script or {}
        self.inside = 0
        self.gate: asyncio.Event | None = None

    async def _do(self, name: str) -> None:
        assert self.inside == 0, "two calls at the same time"
        self.inside += 1
        try:
            await asyncio.sleep(0)
            self.calls.append(name)
            if self.gate is not None:
                await self.gate.wait()
            steps = self.script.get(name)
            if steps and (error := steps.pop(0)) is not None:
                raise error
        finally:
            self.inside -= 1
            async with self.changed:
                self.changed.notify_all()

    @property
    def origin(self) -> Origin:
        return Origin()

    async def open(self) -> int:
        await self._do("open")
        return self.start

    async def take(self, batch: RecordBatch) -> None:
        await self._do("take")
        self.taken += [record.offset for record in batch.records]
        self.position = batch.next

    async def tick(self) -> None:
        await self._do("tick")
        self.ticked.set()

    async def close(self) -> None:
        await self._do("close")

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5), self.changed:
            await self.changed.wait_for(condition)


class Rig:
    def __init__(self, *works: Work, close_deadline_s: float = 5, topics=("raw",)) -> None:
        self.works = {work.tp: work for work in works}
        self.failed: asyncio.Future[tuple[str, BaseException]] = asyncio.get_running_loop().create_future()
        self.sought: asyncio.Queue[tuple[TopicPartition, int]] = asyncio.Queue()
        self.watchdog = Watchdog(60)
        self.lanes = Lanes(
            [Source("source", topics, lambda tp: self.works[tp])],
            fail=lambda doing, error: None if self.failed.done() else self.failed.set_result((doing, error)),
            watchdog=self.watchdog,
            close_deadline_s=close_deadline_s,
            tick_s=0.005,
        )
        self.lanes.seek = lambda tp, offset: self.sought.put_nowait((tp, offset))


async def test_batches_are_taken_in_order_from_where_the_work_opened() -> None:
    work = Work(TP, start=3)
    rig = Rig(work)
    assert await rig.lanes.open([TP]) == {TP: 3}
    assert rig.lanes.ready
    rig.lanes.offer(batch(3, 5))
    rig.lanes.offer(batch(5, 9))
    await work.until(lambda: work.position == 9)
    assert work.taken == [3, 4, 5, 6, 7, 8]
    assert rig.lanes.positions() == {TP: 9}
    await rig.lanes.close()


async def test_a_stale_batch_is_dropped() -> None:
    work = Work(TP, start=4)
    rig = Rig(work)
    await rig.lanes.open([TP])
    rig.lanes.offer(batch(0, 4))
    rig.lanes.offer(batch(3, 6))
    rig.lanes.offer(batch(4, 6))
    await work.until(lambda: work.position == 6)
    assert work.taken == [4, 5]
    await rig.lanes.close()


async def test_a_stale_batch_that_ends_beyond_what_is_due_seeks_again() -> None:
    work = Work(TP, start=4)
    rig = Rig(work)
    await rig.lanes.open([TP])
    rig.lanes.offer(batch(3, 6))
    assert await asyncio.wait_for(rig.sought.get(), 5) == (TP, 4)
    rig.lanes.offer(batch(4, 6))
    await work.until(lambda: work.position == 6)
    assert work.taken == [4, 5]
    await rig.lanes.close()


async def test_a_gap_seeks_again_and_takes_nothing_of_it() -> None:
    work = Work(TP)
    rig = Rig(work)
    await rig.lanes.open([TP])
    rig.lanes.offer(batch(2, 4))
    rig.lanes.offer(batch(4, 6))
    assert await asyncio.wait_for(rig.sought.get(), 5) == (TP, 0)
    rig.lanes.offer(batch(0, 6))
    await work.until(lambda: work.position == 6)
    assert work.taken == [0, 1, 2, 3, 4, 5]
    await rig.lanes.close()


async def test_a_batch_may_begin_before_its_first_record() -> None:
    work = Work(TP)
    rig = Rig(work)
    await rig.lanes.open([TP])
    rig.lanes.offer(RecordBatch(*TP, 0, 10, [LogRecord(7, 0, None, b"")]))
    rig.lanes.offer(batch(10, 11))
    await work.until(lambda: work.position == 11)
    assert work.taken == [7, 10]
    await rig.lanes.close()


async def test_transient_retries_the_same_batch() -> None:
    work = Work(TP, script={"take": [Transient("away", 0.001), Transient("away", 0.001), None]})
    rig = Rig(work)
    await rig.lanes.open([TP])
    rig.lanes.offer(batch(0, 2))
    rig.lanes.offer(batch(2, 4))
    await work.until(lambda: work.position == 4)
    assert work.taken == [0, 1, 2, 3]
    await rig.lanes.close()


async def test_what_is_held_is_asked_again_at_its_own_pace_and_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """A back-off would have grown to seconds by then, and a resume would wait for it."""
    work = Work(TP, script={"take": [*[Held("paused", 0.001)] * 30, None]})
    rig = Rig(work)
    await rig.lanes.open([TP])
    rig.lanes.offer(batch(0, 2))
    await work.until(lambda: work.position == 2)
    assert work.taken == [0, 1]
    assert "put back" not in caplog.text
    await rig.lanes.close()


async def test_any_other_error_ends_the_process_and_nothing_is_called_any_more() -> None:
    work = Work(TP, script={"take": [None, ValueError("odd")]})
    rig = Rig(work)
    await rig.lanes.open([TP])
    rig.lanes.offer(batch(0, 2))
    rig.lanes.offer(batch(2, 4))
    doing, error = await asyncio.wait_for(rig.failed, 5)
    assert (doing, str(error)) == ("take raw/0", "odd")
    before = list(work.calls)
    rig.lanes.offer(batch(4, 6))
    await rig.lanes.close()
    assert work.calls == before
    assert work.position == 2


async def test_an_error_in_a_tick_ends_the_process() -> None:
    work = Work(TP, script={"tick": [Fatal("superseded")]})
    rig = Rig(work)
    await rig.lanes.open([TP])
    doing, error = await asyncio.wait_for(rig.failed, 5)
    assert (doing, str(error)) == ("tick raw/0", "superseded")


async def test_a_busy_lane_ticks_too() -> None:
    work = Work(TP)
    rig = Rig(work)
    await rig.lanes.open([TP])
    at = 0
    async with asyncio.timeout(5):
        while not work.ticked.is_set():
            if rig.lanes.roomy():
                rig.lanes.offer(batch(at, at + 1))
                at += 1
            await asyncio.sleep(0)
    assert at > 1
    await rig.lanes.close()


async def test_close_lets_the_batch_in_hand_finish_and_drops_the_queued() -> None:
    work = Work(TP)
    rig = Rig(work)
    await rig.lanes.open([TP])
    work.gate = asyncio.Event()
    rig.lanes.offer(batch(0, 2))
    await work.until(lambda: work.inside == 0)
    rig.lanes.offer(batch(2, 4))
    closing = asyncio.create_task(rig.lanes.close())
    work.gate.set()
    await closing
    assert work.calls[-1] == "close"
    assert work.calls.count("close") == 1
    assert work.taken in ([0, 1], [])
    assert rig.lanes.positions() == {}
    assert not rig.lanes.ready


async def test_close_ends_a_back_off() -> None:
    work = Work(TP, script={"take": [Transient("away", 3600)]})
    rig = Rig(work)
    await rig.lanes.open([TP])
    rig.lanes.offer(batch(0, 2))
    await work.until(lambda: "take" in work.calls)
    async with asyncio.timeout(5):
        await rig.lanes.close()
    assert work.calls[-1] == "close"
    assert work.taken == []
    assert not rig.failed.done()


async def test_a_close_that_misses_its_deadline_ends_the_process() -> None:
    work = Work(TP)
    rig = Rig(work, close_deadline_s=0.01)
    await rig.lanes.open([TP])
    work.gate = asyncio.Event()
    rig.lanes.offer(batch(0, 2))
    await rig.lanes.close()
    doing, error = rig.failed.result()
    assert doing == "close"
    assert isinstance(error, Fatal)


async def test_a_batch_in_hand_that_is_superseded_while_its_lane_closes_is_no_failure() -> None:
    began, other = asyncio.Event(), asyncio.Event()

    class Beaten(Work):
        async def take(self, batch: RecordBatch) -> None:
            began.set()
            await other.wait()
            raise Superseded("another has it")

    work = Beaten(TP)
    rig = Rig(work)
    await rig.lanes.open([TP])
    rig.lanes.offer(batch(0, 2))
    await began.wait()
    closing = asyncio.create_task(rig.lanes.close())
    await asyncio.sleep(0)
    other.set()
    await closing
    assert not rig.failed.done()
    assert "close" not in work.calls, "it has nothing that could be made safe"


@pytest.mark.parametrize("error", [Transient("away"), Superseded("another has it")])
async def test_a_close_that_finds_the_store_away_or_another_owner_is_no_failure(error: Exception) -> None:
    work = Work(TP, script={"close": [error]})
    rig = Rig(work)
    await rig.lanes.open([TP])
    await rig.lanes.close()
    assert work.calls[-1] == "close"
    assert not rig.failed.done()


async def test_an_open_that_hangs_is_watched_for_and_one_that_waits_for_a_server_is_not() -> None:
    hanging, waiting = Work(TP), Work(TopicPartition("raw", 1), script={"open": [Transient("away", 30)]})
    hanging.gate = asyncio.Event()
    rig = Rig(hanging, waiting)
    opening = asyncio.create_task(rig.lanes.open([hanging.tp, waiting.tp]))
    await waiting.until(lambda: waiting.calls == ["open"])
    await asyncio.sleep(0.01)
    problem = rig.watchdog.problem(0) or ""
    assert "open raw/0" in problem
    assert "raw/1" not in problem
    await rig.lanes.close()
    assert await opening is None


async def test_an_open_is_retried_while_transient() -> None:
    work = Work(TP, start=5, script={"open": [Transient("away", 0.001), None]})
    rig = Rig(work)
    assert await rig.lanes.open([TP]) == {TP: 5}
    await rig.lanes.close()


async def test_a_revocation_while_opening_stops_the_open_and_closes_only_what_had_opened() -> None:
    other = TopicPartition("raw", 1)
    quick, slow = Work(TP), Work(other)
    slow.gate = asyncio.Event()
    rig = Rig(quick, slow)
    opening = asyncio.create_task(rig.lanes.open([TP, other]))
    await quick.until(lambda: "tick" in quick.calls)
    await rig.lanes.close()
    assert await opening is None
    assert quick.calls[-1] == "close"
    assert slow.calls == ["open"]
    assert not rig.failed.done()
    assert not rig.lanes.ready


async def test_an_open_that_does_not_end_when_it_is_cancelled_ends_the_process() -> None:
    class Stubborn(Work):
        async def open(self) -> int:
            try:
                return await super().open()
            except asyncio.CancelledError:
                await released.wait()
                raise

    released, work = asyncio.Event(), Stubborn(TP)
    work.gate = asyncio.Event()
    rig = Rig(work, close_deadline_s=0.01)
    opening = asyncio.create_task(rig.lanes.open([TP]))
    async with asyncio.timeout(5):
        while not work.calls:
            await asyncio.sleep(0)
    await rig.lanes.close()
    doing, error = rig.failed.result()
    assert (doing, type(error)) == ("close", Fatal)
    released.set()
    assert await opening is None


@pytest.mark.parametrize("steps", range(1, 30))
async def test_whenever_a_revocation_comes_what_it_closed_is_not_ready(steps: int) -> None:
    rig = Rig(Work(TP))
    opening = asyncio.create_task(rig.lanes.open([TP]))
    for _ in range(steps):
        await asyncio.sleep(0)
    done = opening.done()
    await rig.lanes.close()
    assert (await opening is not None) == done
    assert not rig.lanes.ready
    assert rig.lanes.roomy() == set()


async def test_no_partitions_is_ready_too() -> None:
    rig = Rig()
    assert await rig.lanes.open([]) == {}
    assert rig.lanes.ready


async def test_a_full_lane_is_not_roomy_and_wakes_the_poll_when_it_is() -> None:
    work = Work(TP)
    rig = Rig(work)
    await rig.lanes.open([TP])
    assert rig.lanes.roomy() == {TP}
    rig.lanes.offer(batch(0, 1))
    assert rig.lanes.roomy() == set()
    woken = asyncio.get_running_loop().create_future()
    rig.lanes.when_roomy(woken)
    await asyncio.wait_for(woken, 5)
    assert rig.lanes.roomy() == {TP}
    await rig.lanes.close()


async def test_a_batch_of_a_partition_that_left_is_dropped() -> None:
    rig = Rig()
    rig.lanes.offer(batch(0, 1))
    assert rig.lanes.roomy() == set()


async def test_one_partition_backing_off_holds_no_other() -> None:
    other = TopicPartition("raw", 1)
    stuck, fine = Work(TP, script={"take": [Transient("away", 3600)]}), Work(other)
    rig = Rig(stuck, fine)
    await rig.lanes.open([TP, other])
    rig.lanes.offer(batch(0, 1))
    await stuck.until(lambda: "take" in stuck.calls)
    rig.lanes.offer(batch(0, 1, other))
    await fine.until(lambda: fine.position == 1)
    await rig.lanes.close()


async def test_a_topic_belongs_to_one_source() -> None:
    source = Source("a", ["raw"], lambda tp: Work(tp))
    with pytest.raises(Fatal, match="same topic"):
        Lanes([source, source], fail=lambda *_: None, watchdog=Watchdog(60), close_deadline_s=1)
