"""Retention overtakes a stopped worker: both agents read on from the landing chain. A replaced log is refused."""

from pathlib import Path

import pytest

from dataforge.contracts.load import load_domains
from dataforge.errors import Fatal
from dataforge.storage.memory import MemoryStore
from dataforge.stream.judged import Acceptance, Verdict
from dataforge.stream.records import Record, TopicPartition
from dataforge.testing.landed import land_log
from dataforge.testing.log import MemoryLog
from dataforge.testing.polling import Polling

from quality_worker import quarantine
from quality_worker.app import judge_and_quarantine
from quality_worker.quarantine import ORIGIN, QuarantinePartition, place_of

PURCHASE = load_domains([Path(__file__).parents[3] / "domains" / "retail"])[0].event("purchase")
CONTRACT = PURCHASE.contract
RAW, JUDGED = TopicPartition(CONTRACT.raw_topic, 0), TopicPartition(CONTRACT.judged_topic, 0)
QUARANTINE = TopicPartition(CONTRACT.quarantine_topic, 0)
NOW_MS = 1_700_000_000_000


class World:
    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.log, self.store = MemoryLog(lambda: self.now_ms), MemoryStore()

    def produce(self, count: int) -> None:
        for _ in range(count):
            self.log.append(RAW, None, b"not json %d" % self.log.end(RAW))

    async def run(self, *tps: TopicPartition) -> None:
        worker = Polling(self.log, judge_and_quarantine([PURCHASE], self.log, self.log, self.store))
        await worker.to_the_end(tps)

    async def land(self) -> None:
        for tp in (RAW, JUDGED):
            await land_log(self.store, self.log, tp)

    def copies(self) -> list[Record]:
        return [r for r in self.log.history(QUARANTINE) if r.key is not None]

    def assert_exact(self, count: int) -> None:
        judged = list(Acceptance().accepted(self.log.history(JUDGED)))
        assert [(stamp.src, record.value) for record, stamp in judged] == [
            (r.offset, r.value) for r in self.log.history(RAW)
        ]
        assert len(judged) == len(self.copies()) == count
        assert [r.value for r in self.copies()] == [r.value for r in self.log.history(RAW)]


@pytest.fixture
def world() -> World:
    return World()


async def test_both_read_on_from_the_chain_where_the_log_no_longer_holds_their_place(world: World) -> None:
    world.produce(10)
    await world.run(RAW, JUDGED)
    world.produce(20)
    await world.run(RAW)  # the quarantine agent is away
    await world.land()
    world.log.truncate(JUDGED, 25)
    world.produce(13)
    await world.land()
    world.log.truncate(RAW, 39)  # and the judge
    await world.run(RAW)
    await world.run(JUDGED)
    world.assert_exact(43)


async def test_without_state_both_start_at_zero_through_the_chain(world: World) -> None:
    world.produce(17)
    await world.land()
    world.log.truncate(RAW, 17)
    world.produce(2)
    await world.run(RAW)
    await world.land()
    world.log.truncate(JUDGED, 11)
    await world.run(JUDGED)
    world.assert_exact(19)


@pytest.mark.parametrize("begin", [0, 8, 10])
async def test_verdicts_are_folded_from_the_landed_ones_on_wherever_the_log_begins(world: World, begin: int) -> None:
    world.produce(10)
    await world.run(RAW)
    await world.land()
    world.log.truncate(JUDGED, begin)
    world.produce(4)
    await world.run(RAW)
    await world.run(RAW)
    await world.run(JUDGED)
    world.assert_exact(14)


async def test_verdicts_that_are_lost_are_not_judged_again(world: World) -> None:
    world.produce(10)
    await world.run(RAW)
    await world.land()
    world.produce(4)
    await world.run(RAW)
    world.log.truncate(JUDGED, 12)
    with pytest.raises(Fatal, match="12 to 14"):
        await world.run(RAW)


async def test_what_neither_log_nor_chain_holds_is_fatal(world: World) -> None:
    world.produce(10)
    await world.land()
    world.produce(5)
    world.log.truncate(RAW, 12)
    with pytest.raises(Fatal, match=rf"{RAW.topic}/0: the log begins at 12, and its landing chain ends at 10"):
        await world.run(RAW)


@pytest.mark.parametrize("topic", [RAW.topic, JUDGED.topic])
async def test_a_topic_that_was_recreated_is_refused(world: World, topic: str) -> None:
    """Also where it holds as many records again: going on would skip them."""
    world.produce(10)
    await world.run(RAW, JUDGED)
    await world.land()
    old = [r.value for r in world.log.history(RAW)]
    world.log.recreate(topic)
    for value in old:
        world.log.append(TopicPartition(topic, 0), None, value)
    with pytest.raises(Fatal, match="recreated"):
        await world.run(RAW if topic == RAW.topic else JUDGED)


async def test_judging_goes_not_on_over_a_recreated_judged_topic(world: World) -> None:
    world.produce(10)
    await world.run(RAW)
    await world.land()
    world.log.recreate(JUDGED.topic)
    with pytest.raises(Fatal, match="recreated"):
        await world.run(RAW)


async def test_a_worker_that_runs_notices_a_recreated_topic(world: World) -> None:
    world.produce(3)
    worker = Polling(world.log, judge_and_quarantine([PURCHASE], world.log, world.log, world.store))
    await worker.lanes.open([RAW])
    await worker.lanes.compare()
    world.log.recreate(RAW.topic)
    await worker.lanes.compare()
    with pytest.raises(Fatal, match="recreated while it was read"):
        await worker.to_the_end([])


async def valid(world: World, count: int) -> None:
    """Judged records that leave no copy."""
    start = world.log.end(JUDGED)
    world.produce(count)
    await world.run(RAW)
    stamps = Acceptance(start)
    kept = world.log.history(JUDGED)[start:]
    del world.log.history(JUDGED)[start:]
    for record, stamp in stamps.accepted(kept):
        headers = [("df", stamp._replace(verdict=Verdict.VALID).pack())]
        world.log.history(JUDGED).append(record._replace(headers=headers))  # pyright: ignore[reportAttributeAccessIssue]


async def test_a_long_clean_stretch_leaves_markers_and_is_not_read_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "MARK_RECORDS", 20)
    world.produce(3)
    await world.run(RAW, JUDGED)
    await valid(world, 30)
    await world.run(JUDGED)
    marker = world.log.records(QUARANTINE)[-1]
    assert (marker.key, marker.value) == (None, None)
    assert ORIGIN not in dict(marker.headers)
    place = place_of(marker)
    assert 3 + 20 <= place.position <= 33
    assert place.accepted_next == place.position
    work = QuarantinePartition(JUDGED, CONTRACT, world.log, world.log)
    assert await work.open() == place.position
    await world.land()
    world.log.truncate(JUDGED, 33)
    world.produce(2)
    await world.run(RAW)
    await world.run(JUDGED)
    assert [r.value for r in world.copies()] == [b"not json %d" % n for n in (0, 1, 2, 33, 34)]


async def test_a_slow_clean_stretch_leaves_a_marker_after_an_hour_of_log_time(world: World) -> None:
    await valid(world, 2)
    world.now_ms += quarantine.MARK_MS - 1
    await valid(world, 1)
    await world.run(JUDGED)
    assert world.log.records(QUARANTINE) == []
    world.now_ms += 1
    await valid(world, 1)
    await world.run(JUDGED)
    [marker] = world.log.records(QUARANTINE)
    assert place_of(marker).position == 4


async def test_a_place_of_an_older_writer_is_read(world: World) -> None:
    world.produce(4)
    await world.run(RAW)
    world.log.append(QUARANTINE, b"k", b"v", [("judged", (3).to_bytes(8, "big") * 2)])
    work = QuarantinePartition(JUDGED, CONTRACT, world.log, world.log)
    assert await work.open() == 3
    assert work.origin.last is None
    await world.run(JUDGED)
    assert [r.value for r in world.copies()] == [b"v", b"not json 3"]
