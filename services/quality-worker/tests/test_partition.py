"""The judged log under crashes, lost and unacknowledged sends, and zombies: each record one verdict (DESIGN R4)."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge.contracts.load import load_domains
from dataforge.errors import Fatal
from dataforge.storage.memory import MemoryStore
from dataforge.stream.judged import Acceptance, Stamp, Verdict, reason_of
from dataforge.stream.records import Record, TopicPartition
from dataforge.testing.log import Fate, MemoryLog

from quality_worker.judge import Judge
from quality_worker.partition import JudgePartition
from quality_worker.quarantine import ORIGIN, QuarantinePartition

RETAIL = Path(__file__).parents[3] / "domains" / "retail"
PURCHASE = load_domains([RETAIL])[0].event("purchase")
CONTRACT = PURCHASE.contract
RAW, JUDGED = TopicPartition(CONTRACT.raw_topic, 0), TopicPartition(CONTRACT.judged_topic, 0)
QUARANTINE = TopicPartition(CONTRACT.quarantine_topic, 0)
VALUES = [b"", b"not json", b"{}", b"[1]", b"\x00\x00\x00\x00\x01x", b'{"event_id": 1}']


def judge_partition(log: MemoryLog) -> JudgePartition:
    return JudgePartition(RAW, Judge(PURCHASE), log, log, MemoryStore())


async def run(log: MemoryLog, size: int = 3) -> None:
    """One worker's life: from open to the end of the log, or to the first failed send."""
    worker = judge_partition(log)
    start = await worker.open()
    for batch in log.batches(RAW, start, size):
        await worker.take(batch)
    await worker.close()


def accepted(log: MemoryLog) -> list[tuple[Record, Stamp]]:
    return list(Acceptance().accepted(log.records(JUDGED)))


def log_of(count: int) -> MemoryLog:
    log = MemoryLog(lambda: 1_700_000_000_000)
    for n in range(count):
        log.append(RAW, str(n).encode(), VALUES[n % len(VALUES)])
    return log


fates = st.lists(st.sampled_from(["ok", "lost", "unacknowledged"]), max_size=8)


@settings(max_examples=60)
@given(st.integers(0, 30), fates, st.integers(1, 7), st.integers(0, 4))
async def test_every_record_gets_one_verdict_through_failed_sends_and_zombies(
    count: int, fates: list[Fate], size: int, zombies: int
) -> None:
    log = log_of(count)
    log.fates = list(fates)
    for n in range(zombies):
        zombie = judge_partition(log)
        start = await zombie.open()
        with contextlib.suppress(Fatal):
            await run(log, size)
        with contextlib.suppress(Fatal):
            for batch in list(log.batches(RAW, start, n + 1))[: n + 1]:
                await zombie.take(batch)
            await zombie.close()
    while log.fates:
        with contextlib.suppress(Fatal):
            await run(log, size)
        log.fates = log.fates[1:]
    await run(log, size)
    found = accepted(log)
    assert [stamp.src for _, stamp in found] == list(range(count))
    for record, stamp in found:
        assert (record.key, record.value) == (log.records(RAW)[stamp.src].key, log.records(RAW)[stamp.src].value)


async def test_a_failed_send_ends_the_worker_with_its_position_unmoved() -> None:
    log = log_of(6)
    log.fates = ["ok", "lost"]
    worker = judge_partition(log)
    await worker.open()
    batches = list(log.batches(RAW, 0, 3))
    await worker.take(batches[0])
    await worker.take(batches[1])
    assert worker.position == 3
    with pytest.raises(Fatal):
        await worker.close()
    assert worker.position == 3


async def test_a_judged_record_says_what_and_why_and_keeps_the_bytes() -> None:
    log = log_of(2)
    await run(log)
    [(empty, first), (broken, second)] = accepted(log)
    assert (first.verdict, reason_of(empty.headers)) == (Verdict.UNDECODABLE, "empty_value")
    assert (second.verdict, broken.value) == (Verdict.UNDECODABLE, b"not json")
    assert first.contract == CONTRACT.fingerprint
    assert first.ts == log.records(RAW)[0].timestamp


@settings(max_examples=40)
@given(st.integers(0, 30), fates, st.integers(1, 7))
async def test_quarantine_holds_every_rejected_record_through_failed_sends(
    count: int, fates: list[Fate], size: int
) -> None:
    log = log_of(count)
    await run(log)
    log.fates = list(fates)

    async def copy() -> None:
        worker = QuarantinePartition(JUDGED, CONTRACT, log, log)
        start = await worker.open()
        for batch in log.batches(JUDGED, start, size):
            await worker.take(batch)
        await worker.close()

    while log.fates:
        with contextlib.suppress(Fatal):
            await copy()
        log.fates = log.fates[1:]
    await copy()
    first: dict[bytes, Record] = {}
    for record in log.records(QUARANTINE):
        first.setdefault(record.key or b"", record)
    rejected = [(r, s) for r, s in accepted(log) if s.verdict is not Verdict.VALID]
    assert list(first) == [f"{RAW.topic}/0/{stamp.src}".encode() for _, stamp in rejected]
    assert [r.value for r in first.values()] == [r.value for r, _ in rejected]
    assert all(dict(r.headers)[ORIGIN] == key for key, r in first.items())
