"""What a partition's owner holds and what the store holds never part."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from test_fold import values_of

from dataforge.errors import Superseded, Transient
from dataforge.state.memory import MemoryState
from dataforge.state.model import Commit
from dataforge.stream.records import LogRecord, RecordBatch, TopicPartition

from aggregator.partition import AggregatorPartition, Pace
from sale_events import SECOND, START, compiled, judged, numbered, sale

SHOP = compiled()
TP = TopicPartition(SHOP.event.contract.judged_topic, 0)


class FullState(MemoryState):
    """Out of memory for the next `refusals` commits."""

    refusals = 0

    async def commit(self, name: str, partition: int, commit: Commit) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Transient("the state store is out of memory")
        await super().commit(name, partition, commit)


LOG = numbered(
    [
        judged(2, START, sale("a", START), base=0),
        judged(7, START, sale("b", START), base=5),  # dropped: nobody has judged 3 and 4 yet
        judged(4, START, sale("c", START), base=3),
        judged(7, START + SECOND, sale("b", START), base=5),
        judged(8, START + SECOND, None, reason="not_json"),
        judged(9, START + 90 * SECOND, sale("d", START + 60 * SECOND)),
    ]
)


def batch(log: Sequence[LogRecord], start: int, end: int) -> RecordBatch:
    return RecordBatch(*TP, start, end, log[start:end])


async def calm() -> MemoryState:
    store = MemoryState()
    worker = AggregatorPartition(TP, SHOP, store, lambda: 0.0, Pace(0.0))
    await worker.open()
    await worker.take(batch(LOG, 0, 3))
    await worker.take(batch(LOG, 3, len(LOG)))
    return store


async def equal(store: MemoryState, other: MemoryState) -> bool:
    ours, theirs = await store.load(SHOP.name, 0, 0), await other.load(SHOP.name, 0, 0)
    ids = [sorted(i for found in loaded.ids.values() for i in found) for loaded in (ours, theirs)]
    return (
        await values_of(store) == await values_of(other)
        and ours.ledger == theirs.ledger
        and ids[0] == ids[1]
        and {k: v for k, v in ours.meta.items() if k not in ("claim", "feed")}
        == {k: v for k, v in theirs.meta.items() if k not in ("claim", "feed")}
    )


async def test_a_commit_tells_readers_the_time_of_day_it_was_made_at() -> None:
    store = MemoryState()
    worker = AggregatorPartition(TP, SHOP, store, lambda: 0.0, Pace(0.0), lambda: 1_234)
    await worker.open()
    await worker.take(batch(LOG, 0, 3))
    [(_, [entry])] = await store.feed({(SHOP.name, 0): "0-0"}, 0)
    assert entry.at == 1_234


@pytest.mark.parametrize("how", ["take", "tick", "close"])
async def test_a_commit_refused_for_want_of_memory_is_made_up_for(how: str) -> None:
    store, now = FullState(), [0.0]
    worker = AggregatorPartition(TP, SHOP, store, lambda: now[0], Pace(1.0))
    await worker.open()
    await worker.take(batch(LOG, 0, 3))  # commits: none is due later than the first
    now[0] = 0.5 if how in ("tick", "close") else 2.0
    store.refusals = 2
    last = batch(LOG, 3, len(LOG))
    if how in ("tick", "close"):
        await worker.take(last)
        now[0] = 2.0
    retried = {"tick": worker.tick, "close": worker.close}.get(how, lambda: worker.take(last))
    for _ in range(2):
        with pytest.raises(Transient):
            await retried()
        assert worker.position == 3
    await retried()
    assert worker.position == len(LOG)
    assert await equal(store, await calm())


class SlowState(MemoryState):
    """Each commit takes the next of these seconds."""

    def __init__(self, now: list[float], seconds: list[float]) -> None:
        super().__init__()
        self._now, self._seconds = now, iter(seconds)

    async def commit(self, name: str, partition: int, commit: Commit) -> None:
        self._now[0] += next(self._seconds)
        await super().commit(name, partition, commit)


async def test_one_commit_that_waited_for_the_store_delays_no_other() -> None:
    now = [0.0]
    worker = AggregatorPartition(TP, SHOP, SlowState(now, [0.001, 60.0, 0.001]), lambda: now[0], Pace(0.1))
    await worker.open()
    for end in range(1, 4):
        await worker.take(batch(LOG, end - 1, end))
        assert worker.position == end
        now[0] += 0.1


async def test_commits_that_are_slow_again_and_again_leave_time_to_fold() -> None:
    now = [0.0]
    worker = AggregatorPartition(TP, SHOP, SlowState(now, [2.0, 2.0, 2.0]), lambda: now[0], Pace(0.1))
    await worker.open()
    await worker.take(batch(LOG, 0, 1))
    now[0] += 0.1
    await worker.take(batch(LOG, 1, 2))
    now[0] += 4 * 2.0 - 0.1
    await worker.take(batch(LOG, 2, 3))
    assert worker.position == 2
    now[0] += 0.2
    await worker.tick()
    assert worker.position == 3


async def test_a_batch_whose_commit_was_refused_is_folded_once() -> None:
    """A verdict without its predecessor is dropped; seen again, with the predecessor known, it would be accepted."""
    store = FullState()
    worker = AggregatorPartition(TP, SHOP, store, lambda: 0.0, Pace(0.0))
    await worker.open()
    store.refusals = 1
    with pytest.raises(Transient):
        await worker.take(batch(LOG, 0, 3))
    await worker.take(batch(LOG, 0, 3))
    read = await store.head(SHOP.name, 0)
    assert (read.position, read.next) == (3, 5)
    await worker.take(batch(LOG, 3, len(LOG)))
    assert await equal(store, await calm())


async def test_nothing_is_folded_while_a_commit_is_refused() -> None:
    store, now = FullState(), [0.0]
    worker = AggregatorPartition(TP, SHOP, store, lambda: now[0], Pace(1.0))
    await worker.open()
    await worker.take(batch(LOG, 0, 3))
    await worker.take(batch(LOG, 3, 5))
    now[0], store.refusals = 2.0, 2
    with pytest.raises(Transient):
        await worker.tick()
    with pytest.raises(Transient):
        await worker.take(batch(LOG, 5, len(LOG)))
    assert worker.fold.position == 5
    await worker.take(batch(LOG, 5, len(LOG)))
    await worker.close()
    assert await equal(store, await calm())


def idle_worker(store: MemoryState, now: list[float], partition: int = 0) -> AggregatorPartition:
    """One of two partitions; idle after 10 s."""
    shop, tp = replace(SHOP, partitions=2), TP._replace(partition=partition)
    return AggregatorPartition(tp, shop, store, lambda: now[0], Pace(0.0, idle_after_s=10.0), lambda: 1)


async def seconds(worker: AggregatorPartition, now: list[float], until: float) -> None:
    while now[0] < until:
        now[0] += 1.0
        await worker.tick()


async def test_an_idle_partition_says_how_far_the_other_is() -> None:
    store, now = MemoryState(), [0.0]
    idle, busy = idle_worker(store, now), idle_worker(store, now, 1)
    await idle.open()
    await busy.open()
    await idle.take(batch(LOG, 0, 1))
    await busy.take(RecordBatch(*busy_tp(), 0, len(LOG), LOG))
    await seconds(idle, now, 9.0)
    assert (await store.head(SHOP.name, 0)).floor == 0
    await seconds(idle, now, 10.0)
    head, there = await store.head(SHOP.name, 0), await store.head(SHOP.name, 1)
    assert (head.watermark, head.floor) == (START, there.watermark)
    entries = (await store.feed({(SHOP.name, 0): "0-0"}, 0))[0][1]
    await seconds(idle, now, 20.0)
    assert (await store.feed({(SHOP.name, 0): "0-0"}, 0))[0][1] == entries, "it is said once"
    await seconds(busy, now, 40.0)
    assert (await store.head(SHOP.name, 1)).floor == 0, "whoever is ahead of all others has nothing to say"


async def test_a_partition_that_takes_records_is_not_idle() -> None:
    store, now = MemoryState(), [0.0]
    worker, ahead = idle_worker(store, now), idle_worker(store, now, 1)
    await worker.open()
    await ahead.open()
    await ahead.take(RecordBatch(*busy_tp(), 0, len(LOG), LOG))
    for n in (0, 2, 3):
        await seconds(worker, now, now[0] + 8.0)
        await worker.take(batch(LOG, worker.position, n + 1))
    assert (await store.head(SHOP.name, 0)).floor == 0
    await seconds(worker, now, now[0] + 10.0)
    assert (await store.head(SHOP.name, 0)).floor > 0


async def test_an_idle_partition_that_cannot_say_so_goes_on_and_says_it_later() -> None:
    class Away(MemoryState):
        away = True

        async def watermarks(self, name: str, partitions: Sequence[int]) -> list[int]:
            if self.away:
                raise Transient("the state store does not answer")
            return await super().watermarks(name, partitions)

    store, now = Away(), [0.0]
    idle, busy = idle_worker(store, now), idle_worker(store, now, 1)
    await idle.open()
    await busy.open()
    await busy.take(RecordBatch(*busy_tp(), 0, len(LOG), LOG))
    await seconds(idle, now, 15.0)
    assert (await store.head(SHOP.name, 0)).floor == 0
    store.away = False
    await seconds(idle, now, 16.0)
    assert (await store.head(SHOP.name, 0)).floor > 0


async def test_a_floor_that_the_store_lost_is_said_again() -> None:
    store, now = MemoryState(), [0.0]
    idle, busy = idle_worker(store, now), idle_worker(store, now, 1)
    await idle.open()
    await busy.open()
    await busy.take(RecordBatch(*busy_tp(), 0, len(LOG), LOG))
    before = store.snapshot()
    await seconds(idle, now, 10.0)
    said = await store.head(SHOP.name, 0)
    store.roll_back(before)
    assert (await store.head(SHOP.name, 0)).floor == 0
    await seconds(idle, now, 11.0)
    assert await store.head(SHOP.name, 0) == said


async def test_an_idle_zombie_settles_nothing() -> None:
    store, now = MemoryState(), [0.0]
    idle, busy = idle_worker(store, now), idle_worker(store, now, 1)
    await idle.open()
    await busy.open()
    await busy.take(RecordBatch(*busy_tp(), 0, len(LOG), LOG))
    await store.claim(SHOP.name, 0, "another")
    with pytest.raises(Superseded):
        await seconds(idle, now, 15.0)
    assert (await store.head(SHOP.name, 0)).floor == 0


def busy_tp() -> TopicPartition:
    return TP._replace(partition=1)
