"""The whole watch over in-memory twins: what is away, what stands still, what is lost, and its alerts."""

from collections.abc import Iterable, Mapping

import msgspec
import pytest

from dataforge.alerts import Alert, current
from dataforge.errors import Transient
from dataforge.ledger.observe import FRESH_S, Observer
from dataforge.ledger.watch import LedgerWatch
from dataforge.state.memory import MemoryState
from dataforge.state.model import Commit
from dataforge.storage.chain import Chain
from dataforge.storage.landing_file import describe, encode
from dataforge.storage.memory import MemoryStore
from dataforge.stream.records import LogRecord, TopicPartition
from dataforge.testing.kpis import sample_domain

DOMAIN = sample_domain(partitions=1)
EVENT = DOMAIN.events[0]
RAW, JUDGED = (TopicPartition(t, 0) for t in (EVENT.contract.raw_topic, EVENT.contract.judged_topic))
MINUTE = 1_700_000_040_000


class Platform:
    """One partition: each stage is moved by hand."""

    def __init__(self) -> None:
        self.now_s, self.ends_away, self.sparse_from = 0.0, False, 10**9
        self.raw_end = self.judged_end = self.position = 0
        self.state, self.store, self.book = MemoryState(), MemoryStore(), Book()
        observer = Observer(self.state, self.store, self, lambda: self.now_s)
        self.watch = LedgerWatch(
            observer, [DOMAIN], logs=self, book=self.book, limit_s=60, clock=lambda: self.now_s, now_ms=lambda: 7
        )

    async def ends(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        if self.ends_away:
            raise Transient("Kafka is away")
        return {tp: self.raw_end if tp == RAW else self.judged_end for tp in tps}

    async def holds_records(self, tp: TopicPartition, start: int, end: int) -> bool:
        return start < self.sparse_from

    async def receive(self, n: int, *, judged: bool = True, landed: bool = True, counted: int | None = None) -> None:
        start, self.raw_end = self.raw_end, self.raw_end + n
        if landed:
            records = [LogRecord(o, MINUTE, None, b"{}") for o in range(start, self.raw_end)]
            footer = describe(records, topic=RAW.topic, partition=0, topic_id="", start=start, following=self.raw_end)
            await self.store.put_if_absent(Chain(self.store, *RAW).key(start), encode(records, footer))
        if judged:
            self.judged_end += n
            await self.count(n if counted is None else counted)

    async def count(self, counted: int) -> None:
        await self.state.claim(EVENT.contract.name, 0, "c")
        self.counted = getattr(self, "counted", 0) + counted
        entry = msgspec.msgpack.encode({"valid": self.counted, "counted": self.counted})
        previous, self.position = self.position, self.judged_end
        meta = {"next": str(self.raw_end)}
        commit = Commit("c", previous, self.position, meta, ledger={MINUTE: entry})
        await self.state.commit(EVENT.contract.name, 0, commit)

    async def look(self, after_s: float = 0) -> str | None:
        self.now_s += after_s + FRESH_S
        await self.watch.look()
        return self.watch.summary()


class Book:
    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self.asked = 0
        self.away = False

    async def known(self) -> Mapping[str, Alert]:
        self.asked += 1
        return current(self.alerts)

    async def send(self, alert: Alert) -> None:
        if self.away:
            raise Transient("away")
        self.alerts.append(alert)

    @property
    def states(self) -> list[str]:
        return [alert.state for alert in self.alerts]


async def test_a_platform_that_goes_on_raises_nothing():
    platform = Platform()
    for _ in range(5):
        await platform.receive(3)
        assert await platform.look(40) is None
    assert platform.book.alerts == []
    assert platform.book.asked == 1, "the topic is read at the first look, and then where something is due"


async def test_a_lost_record_is_raised_once_it_has_been_missing_for_a_minute_and_cleared_when_it_is_there():
    platform = Platform()
    await platform.receive(5, counted=4)
    assert await platform.look() is None
    assert (
        await platform.look(60)
        == f"{RAW.topic}/0: of 2023-11-14T22:14:00.000Z, 5 records are landed and 4 have an outcome"
    )
    await platform.look(100)
    assert platform.book.states == ["raised"]
    assert platform.watch.persisting_of(RAW.topic)
    await platform.receive(1, counted=2)
    assert await platform.look() is None
    await platform.look()
    assert platform.book.states == ["raised", "cleared"]


@pytest.mark.parametrize(("judged", "landed", "kind"), [(True, False, "landing"), (False, True, "judging")])
async def test_a_stage_that_stands_still_is_named(judged: bool, landed: bool, kind: str):
    platform = Platform()
    await platform.receive(3)
    await platform.receive(1, judged=judged, landed=landed)
    await platform.look()
    assert f"{kind} stands at offset 3" in str(await platform.look(61))
    assert platform.book.alerts[0].details["problems"][0]["kind"] == kind


async def test_offsets_that_hold_no_record_are_nothing_to_wait_for():
    platform = Platform()
    await platform.receive(3)
    platform.raw_end, platform.sparse_from = 4, 3
    for _ in range(3):
        assert await platform.look(61) is None
    assert platform.book.alerts == []
    platform.raw_end, platform.sparse_from = 6, 10**9
    await platform.look()
    assert await platform.look(61) is not None, "records that came later are waited for all the same"


async def test_what_is_away_is_said_and_neither_raises_nor_clears():
    platform = Platform()
    await platform.receive(5, counted=4)
    await platform.look()
    await platform.look(61)
    platform.ends_away = True
    await platform.receive(1, counted=2)
    assert await platform.look(61) is None
    assert platform.book.states == ["raised"], "not every stage could be asked"
    platform.ends_away = False
    await platform.look()
    assert platform.book.states == ["raised", "cleared"]


async def test_an_alert_that_could_not_be_written_is_written_later():
    platform = Platform()
    await platform.receive(5, counted=4)
    await platform.look()
    platform.book.away = True
    with pytest.raises(Transient):
        await platform.look(61)
    platform.book.away = False
    await platform.look()
    assert platform.book.states == ["raised"]


async def test_a_second_watch_raises_nothing_again_and_clears_what_the_first_one_raised():
    platform = Platform()
    await platform.receive(5, counted=4)
    await platform.look()
    await platform.look(61)
    first = platform.watch
    platform.watch = LedgerWatch(
        Observer(platform.state, platform.store, platform, lambda: platform.now_s),
        [DOMAIN], logs=platform, book=platform.book, clock=lambda: platform.now_s, now_ms=lambda: 9,
    )  # fmt: skip
    await platform.look()
    await platform.look(61)
    assert platform.watch.persisting
    assert platform.book.states == ["raised"]
    await platform.receive(1, counted=2)
    await platform.look()
    platform.watch = first
    await platform.look()
    assert platform.book.states == ["raised", "cleared"]
