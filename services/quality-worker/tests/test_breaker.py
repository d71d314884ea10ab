"""Too many rejections: nothing of the batch is written, the topic stands still until it is resumed, others go on."""

import asyncio
from collections.abc import Iterable

import pytest

from dataforge import alerts
from dataforge.alerts import AlertSink
from dataforge.control import TOPIC, Resumed, encode
from dataforge.errors import Fatal, Held, Transient
from dataforge.runtime import metrics
from dataforge.storage.memory import MemoryStore
from dataforge.stream.control import Control
from dataforge.stream.judged import Acceptance, Verdict
from dataforge.stream.records import RecordBatch, TopicPartition
from dataforge.testing.log import MemoryLog

from purchase_events import NOW_MS, PURCHASE, bytes_of
from quality_worker.breaker import Breakers
from quality_worker.judge import Judge
from quality_worker.limits import Limits
from quality_worker.partition import JudgePartition

CONTRACT = PURCHASE.contract
RAW = [TopicPartition(CONTRACT.raw_topic, n) for n in range(2)]
LIMITS = Limits(max_rejected_ratio=0.5, window=4, max_consecutive=3)
GOOD, BAD = bytes_of(), b"not json"


class Worker:
    """One process: its partitions share a view of the control topic."""

    def __init__(self, log: MemoryLog, limits: Limits = LIMITS) -> None:
        self.log = log
        self.control = Control(log, log.read_from)
        self.breakers = Breakers(limits, self.control, AlertSink(log), lambda: NOW_MS)
        self.partitions: dict[TopicPartition, JudgePartition] = {}

    async def open(self, tps: Iterable[TopicPartition] = RAW[:1]) -> "Worker":
        await self.control.refresh()
        for tp in tps:
            work = JudgePartition(
                tp,
                Judge(PURCHASE),
                self.log,
                self.log,
                MemoryStore(),
                self.breakers.of(tp),
            )
            await work.open()
            self.partitions[tp] = work
        return self

    def batch(self, tp: TopicPartition, start: int, after: int) -> RecordBatch:
        return RecordBatch(*tp, start, after, self.log.records(tp)[start:after])

    async def take(self, start: int, after: int, tp: TopicPartition = RAW[0]) -> None:
        await self.partitions[tp].take(self.batch(tp, start, after))

    async def close(self) -> None:
        for work in self.partitions.values():
            await work.close()


def log_of(*values: bytes, tps: Iterable[TopicPartition] = RAW[:1]) -> MemoryLog:
    log = MemoryLog(lambda: NOW_MS)
    for tp in tps:
        for value in values:
            log.append(tp, b"900", value)
    return log


def resume(log: MemoryLog, through: dict[int, int] | None = None, topic: str = RAW[0].topic) -> None:
    log.append(TopicPartition(TOPIC, 0), None, encode(Resumed(topic=topic, at_ms=NOW_MS, through=through or {})))


def sources(log: MemoryLog, tp: TopicPartition = RAW[0]) -> list[int]:
    """The raw offsets of the accepted verdicts."""
    judged = TopicPartition(CONTRACT.judged_topic, tp.partition)
    return [stamp.src for _, stamp in Acceptance().accepted(log.records(judged))]


def raised(log: MemoryLog) -> list[alerts.Alert]:
    return [alerts.decode(record.value or b"") for record in log.records(TopicPartition(alerts.TOPIC, 0))]


async def test_the_batch_that_passes_a_limit_is_not_written_and_the_topic_is_paused() -> None:
    log = log_of(*[GOOD] * 4, *[BAD] * 4)
    worker = await Worker(log).open()
    await worker.take(0, 4)
    with pytest.raises(Held, match=r"in a row|of the last 4"):
        await worker.take(4, 8)
    await worker.close()
    assert sources(log) == [0, 1, 2, 3]
    pause = worker.control.pause_of(RAW[0].topic)
    assert pause is not None
    assert (pause.partition, pause.offset, pause.details["reasons"]) == (0, 4, {"not_json": 4})
    [alert] = raised(log)
    assert (alert.kind, alert.severity, alert.topic, alert.at_ms) == ("topic_paused", "critical", RAW[0].topic, NOW_MS)
    assert f"dataforge resume {RAW[0].topic}" in alert.what_to_do
    assert metrics.PAUSED.labels(RAW[0].topic)._value.get() is not None
    assert RAW[0].topic in (worker.breakers.remark() or "")


async def test_a_batch_that_is_put_back_is_judged_as_if_it_had_never_been_tried() -> None:
    """The stamp's `base` must still join the verdicts before: else every reader stops at the gap for ever."""
    log = log_of(*[GOOD] * 4, *[BAD] * 4, GOOD)
    worker = await Worker(log).open()
    await worker.take(0, 4)
    for _ in range(3):
        with pytest.raises(Held):
            await worker.take(4, 8)
    resume(log, {0: 8})
    await worker.control.refresh()
    await worker.take(4, 8)
    await worker.take(8, 9)
    await worker.close()
    assert sources(log) == list(range(9))
    assert len(raised(log)) == 1


async def test_a_pause_survives_restarts_and_holds_every_partition_of_the_topic() -> None:
    log = log_of(*[BAD] * 5, tps=RAW)
    first = await Worker(log).open(RAW[:1])
    with pytest.raises(Held):
        await first.take(0, 5)
    await first.close()
    second = await Worker(log).open(RAW)
    for tp in RAW:
        with pytest.raises(Held):
            await second.take(0, 1, tp)
    await second.close()
    assert sources(log, RAW[0]) == sources(log, RAW[1]) == []
    assert {alert.key for alert in raised(log)} == {f"topic_paused/{RAW[0].topic}"}
    assert len(alerts.current(raised(log))) == 1


async def test_another_topic_goes_on() -> None:
    log = log_of(*[BAD] * 5)
    worker = await Worker(log).open()
    with pytest.raises(Held):
        await worker.take(0, 5)
    other = TopicPartition("raw.shop.other.v1", 0)
    assert worker.breakers.of(other).pause is None
    await worker.breakers.of(other).hold()
    resume(log, topic=other.topic)
    await worker.control.refresh()
    with pytest.raises(Held):
        await worker.take(0, 5)


async def test_what_was_there_at_the_resume_passes_and_what_comes_later_is_measured_anew() -> None:
    log = log_of(*[BAD] * 20)
    worker = await Worker(log).open()
    with pytest.raises(Held):
        await worker.take(0, 10)
    resume(log, {0: 12})
    await worker.control.refresh()
    await worker.take(0, 10)
    await worker.take(10, 15)  # three of them are measured: a run of three is allowed
    with pytest.raises(Held):
        await worker.take(15, 16)
    await worker.close()
    assert sources(log) == list(range(15))


async def test_a_plain_resume_lets_nothing_through_that_passes_a_limit() -> None:
    log = log_of(*[BAD] * 4, *[GOOD] * 4)
    worker = await Worker(log).open()
    with pytest.raises(Held):
        await worker.take(0, 8)
    resume(log)
    await worker.control.refresh()
    with pytest.raises(Held):
        await worker.take(0, 8)
    assert sources(log) == []
    pauses = [r for r in log.records(TopicPartition(TOPIC, 0)) if b'"paused"' in (r.value or b"")]
    assert len(pauses) == 2


async def test_a_pause_decided_before_a_resume_was_known_is_void() -> None:
    log = log_of(*[BAD] * 5, tps=RAW)
    one, other = await Worker(log).open(RAW[:1]), await Worker(log).open(RAW[1:])
    with pytest.raises(Held):
        await one.take(0, 5)
    resume(log, {0: 5, 1: 5})
    with pytest.raises(Held) as held:  # it has seen neither the pause nor the resume
        await other.take(0, 5, RAW[1])
    assert held.value.retry_after_s == 0
    await other.take(0, 5, RAW[1])
    await other.close()
    assert sources(log, RAW[1]) == [0, 1, 2, 3, 4]


async def test_an_alert_that_could_not_be_written_is_raised_again() -> None:
    log = log_of(*[BAD] * 5)
    worker = await Worker(log).open()
    log.fates = ["ok", "lost"]
    with pytest.raises(Transient) as error:
        await worker.take(0, 5)
    assert not isinstance(error.value, Held)
    assert raised(log) == []
    with pytest.raises(Held):
        await worker.take(0, 5)
    assert len(raised(log)) == 1
    with pytest.raises(Held):
        await worker.take(0, 5)
    assert len(raised(log)) == 1


async def test_a_pause_that_could_not_be_written_ends_the_process_with_nothing_written() -> None:
    log = log_of(*[BAD] * 5)
    worker = await Worker(log).open()
    log.fates = ["lost"]
    with pytest.raises(Fatal):
        await worker.take(0, 5)
    again = await Worker(log).open()
    with pytest.raises(Held):
        await again.take(0, 5)
    assert sources(log) == []


async def test_a_failed_send_of_the_batch_before_is_noticed_while_held() -> None:
    log = log_of(*[GOOD] * 4, *[BAD] * 4)
    worker = await Worker(log).open()
    log.fates = ["lost"]
    await worker.take(0, 4)
    await asyncio.sleep(0)  # its send begins, and fails
    with pytest.raises(Held):
        await worker.take(4, 8)
    with pytest.raises(Fatal):
        await worker.take(4, 8)


async def test_verdicts_count_only_what_was_written() -> None:
    def undecodable() -> float:
        return metrics.VERDICTS.labels(RAW[0].topic, Verdict.UNDECODABLE.name.lower(), "not_json")._value.get()

    log = log_of(*[BAD] * 5)
    worker, before = await Worker(log).open(), undecodable()
    with pytest.raises(Held):
        await worker.take(0, 5)
    assert undecodable() == before
    resume(log, {0: 5})
    await worker.control.refresh()
    await worker.take(0, 5)
    await worker.close()
    assert undecodable() == before + 5
