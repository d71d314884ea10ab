"""A lane whose log no longer holds what is due is fed from the log's history, and then goes on from the log."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import pytest

from dataforge.errors import Fatal, Transient
from dataforge.runtime.watchdog import Watchdog
from dataforge.storage.history import BATCH_RECORDS, LandedHistory
from dataforge.storage.memory import MemoryStore
from dataforge.stream.lanes import Lanes
from dataforge.stream.origin import NO_ID, Mark, Origin
from dataforge.stream.records import LogRecord, RecordBatch, TopicPartition
from dataforge.stream.work import Landed, Source
from dataforge.testing.landed import land_log
from dataforge.testing.log import MemoryLog
from dataforge.testing.polling import Polling

TP = TopicPartition("raw.shop.sale.v1", 0)


class Reading:
    """Remembers what it took, and where it stood: opened again, it goes on there."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.position, self.origin = 0, Origin(log.id_of(TP.topic))
        self.taken: list[bytes] = []
        self.ticks = 0
        self.put_back = 0
        """Takes that are Transient, first ones."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = 0

    async def open(self) -> int:
        return self.position

    async def take(self, batch: RecordBatch) -> None:
        await self.gate.wait()
        if self.put_back:
            self.put_back -= 1
            raise Transient("away", 0.001)
        assert batch.start == self.position
        self.taken += [record.value or b"" for record in batch.records]
        self.position = batch.next
        if batch.records:
            self.origin = Origin(self.log.id_of(TP.topic), Mark.of(batch.records[-1]))

    async def tick(self) -> None:
        self.ticks += 1

    async def close(self) -> None:
        self.closed += 1


class World:
    def __init__(self) -> None:
        self.log, self.store = MemoryLog(), MemoryStore()
        self.history: LandedHistory | Scripted | None = LandedHistory(self.store)
        self.reading = Reading(self.log)

    def append(self, count: int, *, gap: int = 0) -> None:
        for _ in range(count):
            self.log.append(TP, None, b"%d" % self.log.end(TP))
            self.log.skip(TP, gap)

    async def land(self, size: int = 4) -> None:
        await land_log(self.store, self.log, TP, size=size)

    def source(self) -> Source:
        return Source("reading", [TP.topic], lambda _: self.reading, self.log, self.history)

    async def read(self) -> int:
        """To the log's end; returns where the log was sought first."""
        return (await Polling(self.log, [self.source()]).to_the_end([TP]))[TP]

    def assert_exact(self) -> None:
        assert self.reading.taken == [record.value for record in self.log.history(TP)]
        assert self.reading.position == self.log.end(TP)


class Scripted:
    """A history whose reads fail as told, and which can do something in between."""

    def __init__(self, of: LandedHistory, errors: Sequence[Exception] = (), then: Callable[[], None] | None = None):
        self.of, self.errors, self.then, self.reads = of, list(errors), then, 0

    async def read(self, tp: TopicPartition, offset: int) -> AsyncGenerator[Landed, None]:
        self.reads += 1
        async with aclosing(self.of.read(tp, offset)) as pieces:
            async for piece in pieces:
                yield piece
                if self.errors:
                    raise self.errors.pop(0)
                if self.then is not None:
                    self.then()


@pytest.fixture
async def world() -> World:
    return World()


@pytest.mark.parametrize("position", [0, 3, 4, 9])
@pytest.mark.parametrize("begin", [4, 10, 12, 19, 20])
@pytest.mark.parametrize("gap", [0, 2])
async def test_it_reads_on_from_the_chain_and_then_from_the_log(
    world: World, position: int, begin: int, gap: int
) -> None:
    world.append(position, gap=gap)
    await world.read()
    world.append(20 - position, gap=gap)
    await world.land()
    world.log.truncate(TP, begin * (1 + gap))
    assert await world.read() == max(world.log.begin(TP), position * (1 + gap))
    world.assert_exact()


async def test_a_log_that_holds_all_costs_one_question_and_no_history(world: World) -> None:
    world.history = scripted = Scripted(LandedHistory(world.store))
    world.append(9)
    await world.land()
    await world.read()
    world.log.truncate(TP, 8)
    world.append(1)
    assert await world.read() == 9
    world.assert_exact()
    assert scripted.reads == 0


async def test_the_last_record_is_compared_in_the_chain_where_only_that_holds_it(world: World) -> None:
    world.append(9)
    await world.read()
    await world.land()
    world.log.truncate(TP, 9)
    await world.read()
    world.reading.origin = Origin(world.log.id_of(TP.topic), Mark(8, 0, 1))
    with pytest.raises(Fatal, match="the record at 8 of its landing chain is another"):
        await world.read()


async def test_a_last_record_that_nobody_holds_any_more_is_no_reason_to_stop(world: World) -> None:
    world.append(9)
    await world.read()
    world.log.truncate(TP, 9)
    world.append(3)
    assert await world.read() == 9
    world.assert_exact()


async def test_retention_may_go_on_meanwhile(world: World) -> None:
    world.append(40)
    await world.land()
    world.log.truncate(TP, 10)
    world.history = Scripted(
        LandedHistory(world.store), then=lambda: world.log.truncate(TP, min(world.log.begin(TP) + 5, 38))
    )
    await world.read()
    world.assert_exact()


async def test_a_store_that_is_away_is_tried_again_where_it_was(world: World) -> None:
    world.append(40)
    await world.land()
    world.log.truncate(TP, 35)
    world.history = Scripted(LandedHistory(world.store), [Transient("away", 0.001)] * 3)
    world.reading.put_back = 2
    await world.read()
    world.assert_exact()
    assert world.history.reads == 4


@pytest.mark.parametrize("landed", [0, 8])
async def test_what_neither_holds_ends_the_process(world: World, landed: int) -> None:
    world.append(landed)
    await world.land()
    world.append(12 - landed)
    world.log.truncate(TP, 10)
    with pytest.raises(Fatal, match=f"{TP.topic}/0: the log begins at 10, and its landing chain ends at {landed}"):
        await world.read()
    assert world.reading.closed == 0


async def test_without_a_history_a_log_that_begins_later_ends_the_process(world: World) -> None:
    world.history = None
    world.append(12)
    world.log.truncate(TP, 10)
    with pytest.raises(Fatal, match="the log begins at 10, and is to be read from 0"):
        await world.read()


async def test_a_chain_of_another_topic_is_refused(world: World) -> None:
    world.append(12)
    await world.land()
    world.log.recreate(TP.topic)
    world.append(12)
    world.log.truncate(TP, 10)
    world.reading = Reading(world.log)
    with pytest.raises(Fatal, match="recreated after it was landed"):
        await world.read()
    assert world.reading.taken == []


async def test_a_log_that_differs_where_the_chain_meets_it_is_refused(world: World) -> None:
    world.append(12)
    await world.land(size=4)
    world.log.truncate(TP, 10)
    world.log.history(TP)[11] = LogRecord(11, 0, None, b"other")
    with pytest.raises(Fatal, match="the record at 11 is another"):
        await world.read()


async def test_a_log_without_ids_is_any_log(world: World) -> None:
    world.append(9)
    await world.read()
    world.reading.origin = world.reading.origin._replace(topic_id=NO_ID)
    world.append(1)
    await world.read()
    world.assert_exact()


class Held:
    """Lanes that are asked step by step."""

    def __init__(self, world: World) -> None:
        self.failed: list[BaseException] = []
        self.sought: list[tuple[TopicPartition, int]] = []
        self.lanes = Lanes(
            [world.source()],
            fail=lambda _, error: self.failed.append(error),
            watchdog=Watchdog(60),
            close_deadline_s=5,
            tick_s=0.001,
        )
        self.lanes.seek = lambda tp, offset: self.sought.append((tp, offset))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_while_it_catches_up_it_has_no_room_and_ticks(world: World) -> None:
    world.append(12)
    await world.land()
    world.log.truncate(TP, 10)
    world.reading.gate.clear()
    held = Held(world)
    assert await held.lanes.open([TP]) == {TP: 10}
    assert held.lanes.ready
    assert held.lanes.roomy() == set()
    world.reading.gate.set()
    await until(lambda: bool(held.sought))
    ticks = world.reading.ticks
    await until(lambda: world.reading.ticks > ticks)
    assert held.sought == [(TP, 12)]
    assert held.lanes.roomy() == {TP}
    await held.lanes.close()
    assert world.reading.closed == 1


@pytest.mark.parametrize("error", [None, Transient("away", 3600)])
async def test_closing_ends_it(world: World, error: Exception | None) -> None:
    """In the middle of a take, of a read, or of a wait for the store."""
    world.append(40)
    await world.land()
    world.log.truncate(TP, 38)
    started = asyncio.Event()
    world.history = Scripted(LandedHistory(world.store), [error] if error else [], then=started.set)
    held = Held(world)
    await held.lanes.open([TP])
    await until(lambda: world.reading.position > 0)
    async with asyncio.timeout(5):
        await held.lanes.close()
    assert world.reading.closed == 1
    assert held.failed == []
    await world.read()
    world.assert_exact()


async def test_a_failed_take_ends_it(world: World) -> None:
    world.append(40)
    await world.land()
    world.log.truncate(TP, 38)
    held = Held(world)
    world.reading.position = 0
    world.reading.take = _refuse  # pyright: ignore[reportAttributeAccessIssue]
    await held.lanes.open([TP])
    await until(lambda: bool(held.failed))
    async with asyncio.timeout(5):
        await held.lanes.close()
    assert [str(error) for error in held.failed] == ["refused"]
    assert world.reading.closed == 0


async def _refuse(_: RecordBatch) -> None:
    raise Fatal("refused")


async def test_a_missing_topic_ends_a_process_that_runs(world: World) -> None:
    held = Held(world)
    await held.lanes.open([TP])

    async def missing(topics: Sequence[str]) -> dict[str, bytes]:
        raise Fatal(f"no topic {topics[0]}")

    world.log.topic_ids = missing
    await held.lanes.compare()
    assert [str(error) for error in held.failed] == [f"no topic {TP.topic}"]
    await held.lanes.close()


async def test_a_topic_that_was_replaced_while_nobody_had_it_is_noticed(world: World) -> None:
    """A rebalance while the topic did not exist leaves its partitions to nobody, and nothing would be read."""
    held = Held(world)
    await held.lanes.open([TP])
    await held.lanes.close()
    await held.lanes.open([])
    world.log.recreate(TP.topic)
    await held.lanes.compare()
    assert [str(error) for error in held.failed] == [f"the topic was recreated while it was read: {TP.topic}"]


async def test_a_log_that_does_not_answer_is_compared_later(world: World) -> None:
    held = Held(world)
    await held.lanes.open([TP])

    async def away(topics: Sequence[str]) -> dict[str, bytes]:
        raise Transient(f"{topics} away")

    world.log.topic_ids = away
    await held.lanes.compare()
    assert held.failed == []
    await held.lanes.close()


async def test_a_large_object_comes_in_batches_like_a_poll_brings() -> None:
    log, store = MemoryLog(), MemoryStore()
    for n in range(2 * BATCH_RECORDS + 1):
        log.append(TP, None, b"%d" % n)
    log.skip(TP, 3)
    await land_log(store, log, TP, size=1 << 20)
    pieces = [piece async for piece in LandedHistory(store).read(TP, 1)]
    spans = [(p.batch.start, p.batch.next, len(p.batch)) for p in pieces]
    last = 2 * BATCH_RECORDS
    assert spans == [(1, BATCH_RECORDS + 1, BATCH_RECORDS), (BATCH_RECORDS + 1, last + 4, BATCH_RECORDS)]
    assert {p.topic_id for p in pieces} == {log.id_of(TP.topic)}
    assert [(p.batch.start, len(p.batch)) async for p in LandedHistory(store).read(TP, last + 2)] == [(last + 2, 0)]
