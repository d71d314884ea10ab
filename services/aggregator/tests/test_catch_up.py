"""Retention overtakes a stopped aggregator: it counts on from the landing chain. A replaced log is refused."""

from collections.abc import Sequence

import pytest

from dataforge.errors import Fatal
from dataforge.state.memory import MemoryState
from dataforge.storage.history import LandedHistory
from dataforge.storage.memory import MemoryStore
from dataforge.stream.records import LogRecord, TopicPartition
from dataforge.stream.work import Source
from dataforge.testing.landed import land_log
from dataforge.testing.log import MemoryLog
from dataforge.testing.polling import Polling

from aggregator.partition import AggregatorPartition, Pace
from sale_events import SECOND, START, compiled, judged, sale

SHOP = compiled()
TP = TopicPartition(SHOP.event.contract.judged_topic, 0)
COUNT = 40


def records(count: int) -> list[LogRecord]:
    return [judged(n, START + n * SECOND, sale(f"e{n}", START + n * SECOND)) for n in range(count)]


class World:
    def __init__(self) -> None:
        self.log, self.objects, self.state = MemoryLog(lambda: START), MemoryStore(), MemoryState()

    def append(self, some: Sequence[LogRecord]) -> None:
        for record in some:
            self.log.append(TP, record.key, record.value, record.headers)

    async def run(self) -> int:
        def opened(tp: TopicPartition) -> AggregatorPartition:
            return AggregatorPartition(tp, SHOP, self.state, lambda: 0.0, Pace(0.0), lambda: 1, self.log)

        source = Source("judged", [TP.topic], opened, self.log, LandedHistory(self.objects))
        sought = await Polling(self.log, [source]).to_the_end([TP])
        return sought[TP]

    async def land(self) -> None:
        await land_log(self.objects, self.log, TP)

    async def state_of(self) -> object:
        loaded = await self.state.load(SHOP.name, 0, SHOP.event.lateness_ms)
        ids = sorted(i for found in loaded.ids.values() for i in found)
        counted = {
            minute: {k: v for k, v in counts.items() if k != "position"} for minute, counts in loaded.ledger.items()
        }
        meta = {k: loaded.meta[k] for k in ("position", "next", "watermark", "fp")}
        return loaded.windows, ids, counted, meta


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("stopped", [0, 13])
async def test_it_counts_on_from_the_chain_exactly(world: World, stopped: int) -> None:
    """Also without any state: from offset 0, never from where the log happens to begin."""
    world.append(records(COUNT)[:stopped])
    await world.run()
    world.append(records(COUNT)[stopped:30])
    await world.land()
    world.log.truncate(TP, 27)
    world.append(records(COUNT)[30:])
    assert await world.run() == 27

    calm = World()
    calm.append(records(COUNT))
    await calm.run()
    assert await world.state_of() == await calm.state_of()


@pytest.mark.parametrize("again", [3, COUNT, COUNT + 5])
async def test_a_recreated_topic_is_refused_however_long_it_is(world: World, again: int) -> None:
    world.append(records(COUNT))
    await world.run()
    world.log.recreate(TP.topic)
    world.append(records(again))
    with pytest.raises(Fatal, match=f"{TP.topic}/0: the topic was recreated"):
        await world.run()


async def test_another_last_record_is_refused(world: World) -> None:
    """Restored from a copy that parted from the log: the same id, other records."""
    world.append(records(10))
    await world.run()
    last = world.log.history(TP)[-1]
    world.log.history(TP)[-1] = last._replace(timestamp=last.timestamp + 1)
    with pytest.raises(Fatal, match="the record at 9 is another"):
        await world.run()


async def test_another_last_record_in_the_chain_is_refused_where_the_log_no_longer_holds_it(world: World) -> None:
    world.append(records(10))
    await world.run()
    last = world.log.history(TP)[-1]
    world.log.history(TP)[-1] = last._replace(timestamp=last.timestamp + 1)
    await world.land()
    world.append(records(12)[10:])
    world.log.truncate(TP, 10)
    with pytest.raises(Fatal, match="the record at 9 of its landing chain is another"):
        await world.run()


async def test_a_log_that_ends_before_the_position_is_refused(world: World) -> None:
    world.append(records(10))
    await world.run()
    behind = World()
    behind.append(records(9))
    world.log = behind.log
    with pytest.raises(Fatal, match="the log ends at 9, and was read up to 10"):
        await world.run()


async def test_records_that_neither_holds_end_the_process_with_both_ends_named(world: World) -> None:
    world.append(records(10))
    await world.land()
    world.append(records(20)[10:])
    world.log.truncate(TP, 15)
    with pytest.raises(Fatal, match="the log begins at 15, and its landing chain ends at 10"):
        await world.run()
