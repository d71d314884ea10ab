"""The fold of corrections, and its owner: order, repeats, crashes and zombies change nothing."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge.contracts.model import MeasureKind
from dataforge.corrections import OVERLAY, TOPIC, Correction, encode, overlay_table
from dataforge.errors import Fatal, Superseded, Transient
from dataforge.kpi.columns import ALGEBRA, ColumnKind
from dataforge.kpi.plan import plan
from dataforge.state.memory import MemoryState
from dataforge.state.model import Commit
from dataforge.stream.records import LogRecord, RecordBatch, TopicPartition
from dataforge.testing.kpis import correction, sample_domain
from dataforge.testing.log import MemoryLog

from aggregator import overlay
from aggregator.correct import Overlay, applied, checked, fold, known_of
from aggregator.overlay import OverlayPartition

TP = TopicPartition(TOPIC, 0)
MINUTE, TEN_S = 60_000, 10_000
TTL = 600_000
DOMAIN = sample_domain(ttl_ms=TTL)
NAME = DOMAIN.events[0].contract.name
PLAN = plan(DOMAIN.events[0])
KNOWN = known_of([DOMAIN])
REVENUE = PLAN.view("revenue", ("store",))


def said(
    store: str, start_ms: int, revision: int, cents: int | None, watermark: int = 0, size_ms: int = TEN_S
) -> Correction:
    """None: the row is gone."""
    stored = () if cents is None else (cents,)
    one = correction(NAME, REVENUE, size_ms, start_ms, (store,), *stored, revision=revision)
    return msgspec.structs.replace(one, watermark=watermark)


def numbered(values: Sequence[bytes]) -> list[LogRecord]:
    return [LogRecord(n, n, b"", value) for n, value in enumerate(values)]


steps_drawn = st.tuples(st.sampled_from(["take", "crash", "zombie", "save", "roll back"]), st.integers(1, 5))
drawn = st.builds(
    said,
    st.sampled_from("12"),
    st.integers(0, 3).map(lambda n: n * TEN_S),
    st.integers(1, 4),
    st.none() | st.integers(0, 99),
    st.sampled_from([0, 0, 0, TTL + TEN_S, TTL + 3 * TEN_S]),
)


def obvious(records: Sequence[Correction]) -> dict[tuple[str, str], list[Any]]:
    """Of each cell the first record of its highest revision, of windows that have not expired."""
    held: dict[tuple[str, str], list[Any]] = {}
    for one in records:
        cell = (one.window, one.label_text)
        if one.revision > held.get(cell, [0])[0]:
            held[cell] = one.row
    last = max((one.watermark for one in records), default=0)
    ends = {one.window: one.end_ms for one in records}
    return {cell: row for cell, row in held.items() if ends[cell[0]] + TTL > last}


async def cells(store: MemoryState) -> dict[tuple[str, str], list[Any]]:
    loaded = await store.load(*OVERLAY, 0)
    assert loaded.windows.keys() == loaded.expiries.keys()
    return {(key, label): row for key, rows in loaded.windows.items() for label, row in rows.items()}


def owner(store: MemoryState, log: MemoryLog, now: Sequence[float] = (0.0,)) -> OverlayPartition:
    return OverlayPartition(TP, KNOWN, store, log, lambda: now[0], lambda: 1)


def filled(values: Sequence[bytes]) -> MemoryLog:
    log = MemoryLog()
    for value in values:
        log.append(TP, b"", value)
    return log


async def read_on(worker: OverlayPartition, log: MemoryLog, cuts: Sequence[int] = ()) -> None:
    """From where it opens to the log's end."""
    start, end = await worker.open(), log.end(TP)
    for a, b in pairwise(sorted({start, end, *(c for c in cuts if start < c < end)})):
        await worker.take(log.fetch(TP, a, b - a))


@settings(max_examples=60)
@given(st.lists(drawn, max_size=25), st.lists(st.integers(0, 25), max_size=6))
async def test_of_each_cell_the_first_of_the_highest_revision_holds_until_it_expires(
    records: list[Correction], cuts: list[int]
) -> None:
    log, store = filled([encode(one) for one in records]), MemoryState()
    await read_on(owner(store, log), log, cuts)
    assert await cells(store) == obvious(records)


@settings(max_examples=60)
@given(st.lists(drawn, max_size=15, unique_by=lambda one: (one.window, one.label, one.revision)), st.data())
async def test_order_and_repeats_change_nothing(records: list[Correction], data: st.DataObject) -> None:
    again = records + (data.draw(st.lists(st.sampled_from(records), max_size=5)) if records else [])
    log, store = filled([encode(one) for one in data.draw(st.permutations(again))]), MemoryState()
    await read_on(owner(store, log), log)
    assert await cells(store) == obvious(records)


@settings(max_examples=60)
@given(
    st.lists(drawn, min_size=1, max_size=20),
    st.lists(
        st.tuples(st.sampled_from(["take", "crash", "zombie", "save", "roll back"]), st.integers(1, 5)), max_size=12
    ),
)
async def test_crashes_zombies_and_a_store_that_lost_its_tail_change_nothing(
    records: list[Correction], steps: list[tuple[str, int]]
) -> None:
    log, store = filled([encode(one) for one in records]), MemoryState()
    worker = owner(store, log)
    at, saved = await worker.open(), store.snapshot()
    for step, count in steps:
        match step:
            case "take" if at < log.end(TP):
                batch = log.fetch(TP, at, count)
                await worker.take(batch)
                at = batch.next
            case "crash":
                worker = owner(store, log)
                at = await worker.open()
            case "zombie" if at < log.end(TP):
                zombie, worker = worker, owner(store, log)
                assert await worker.open() == at
                with pytest.raises(Superseded):
                    await zombie.take(log.fetch(TP, at, count))
            case "save":
                saved = store.snapshot()
            case "roll back":
                store.roll_back(saved)
                worker = owner(store, log)
                at = await worker.open()
            case _:
                pass
    await read_on(owner(store, log), log)
    assert await cells(store) == obvious(records)


async def test_the_feed_says_what_is_stored() -> None:
    records = [said("1", 0, 1, 5), said("1", 0, 2, None), said("2", TEN_S, 1, 7, TTL + TEN_S)]
    log, store = filled([encode(one) for one in records]), MemoryState()
    await read_on(owner(store, log), log, [1, 2])
    [(_, entries)] = await store.feed({OVERLAY: "0-0"}, 0)
    key = f"{overlay_table(NAME, REVENUE.table.id)}|{TEN_S}|"
    at = REVENUE.columns[0]
    assert [entry.rows for entry in entries] == [
        {f"{key}0": {'["1"]': [1, {at: 5}]}},
        {f"{key}0": {'["1"]': [2, None]}},
        {f"{key}{TEN_S}": {'["2"]': [1, {at: 7}]}},
    ]
    assert [entry.gone for entry in entries] == [[], [], [f"{key}0"]]
    assert [entry.next for entry in entries] == [1, 2, 3]
    assert (await store.head(*OVERLAY)).cursor == entries[-1].cursor


HLL = ALGEBRA[ColumnKind.HLL]
CUSTOMERS = PLAN.view("customers")
SKETCH = HLL.store(HLL.absorb(HLL.held(), {"a"}))
STRANGE = {
    "no JSON": b"\xff\x00",
    "null": b"",
    "another event": encode(said("1", 0, 9, 1)).replace(NAME.encode(), b"shop.other.v1"),
    "another table": encode(said("1", 0, 9, 1)).replace(REVENUE.table.id.encode(), b"store#00000000"),
    "another window": encode(said("1", 0, 9, 1, size_ms=7)),
    "too many labels": encode(said("1", 0, 9, 1)).replace(b'["1"]', b'["1","2"]'),
    "a column beyond the table": encode(said("1", 0, 9, 1)).replace(b'"columns":{"', b'"columns":{"99'),
    "a sum that is a text": encode(said("1", 0, 9, 1)).replace(b":1}", b':"many"}'),
    "bytes that are no sketch": encode(correction(NAME, CUSTOMERS, MINUTE, 0, (), b"sketch")),
    "a sketch of another kind": encode(correction(NAME, PLAN.view("amounts"), MINUTE, 0, (), SKETCH)),
    "a number where a sketch is due": encode(correction(NAME, CUSTOMERS, MINUTE, 0, (), 5)),
}


@pytest.mark.parametrize("what", STRANGE)
async def test_a_record_that_no_reader_could_merge_is_left_out(what: str) -> None:
    good = said("1", 0, 1, 5)
    log, store = filled([STRANGE[what], encode(good)]), MemoryState()
    await read_on(owner(store, log), log)
    assert await cells(store) == obvious([good])
    step = fold(Overlay(), log.records(TP), KNOWN)
    assert (step.outcomes, [offset for offset, _ in step.rejected]) == ({"rejected": 1, "applied": 1}, [0])


def test_every_kind_of_column_can_be_corrected() -> None:
    for view in PLAN.views.values():
        stored = [ALGEBRA[view.table.columns[at - 1].kind] for at in view.columns]
        empty = [algebra.store(algebra.held()) for algebra in stored]
        label = ("1",) * len(view.by)
        one = correction(NAME, view, view.table.windows_ms[0], 0, label, *empty)
        assert checked(encode(one), KNOWN) == one
    assert {view.metric.measure.kind for view in PLAN.views.values()} >= {
        MeasureKind.SUM, MeasureKind.MAX, MeasureKind.DISTINCT, MeasureKind.QUANTILES, MeasureKind.TOP_K,
    }  # fmt: skip


@given(st.binary(max_size=60))
def test_no_record_stops_the_fold(value: bytes) -> None:
    step = fold(Overlay(), numbered([value, encode(said("1", 0, 1, 5))]), KNOWN)
    assert step.outcomes["applied"] == 1
    assert applied(Overlay(), step).revisions


async def test_a_log_that_begins_later_is_read_from_its_beginning() -> None:
    records = [said("1", n * TEN_S, 1, n) for n in range(6)]
    log, store = filled([encode(one) for one in records[:2]]), MemoryState()
    await read_on(owner(store, log), log)
    for one in records[2:]:
        log.append(TP, b"", encode(one))
    log.truncate(TP, 4)
    worker = owner(store, log)
    assert await worker.open() == 4
    await read_on(worker, log)
    assert await cells(store) == obvious([*records[:2], *records[4:]])


async def test_a_topic_that_was_recreated_is_read_from_its_beginning() -> None:
    """Nothing of it is lost for long: the lake says again what readers are not shown."""
    first, second = [said("1", 0, n, n) for n in range(1, 5)], [said("2", 0, 1, 9), said("1", 0, 2, 2)]
    log, store = filled([encode(one) for one in first]), MemoryState()
    await read_on(owner(store, log), log)
    before = await store.head(*OVERLAY)
    log.recreate(TOPIC)
    for one in second:
        log.append(TP, b"", encode(one))
    worker = owner(store, log)
    await read_on(worker, log)
    assert (worker.position, await cells(store)) == (2, obvious(first + second))
    after = await store.head(*OVERLAY)
    assert after.position > before.position, "the feed's order never goes back"
    assert await owner(store, log).open() == 2


async def test_a_missing_topic_keeps_nobody_from_working() -> None:
    class Missing(MemoryLog):
        async def bounds(self, tp: TopicPartition) -> Any:
            raise Fatal(f"there is no topic {tp.topic}")

    worker = owner(MemoryState(), Missing())
    assert await worker.open() == 0
    await worker.tick()


async def test_a_commit_refused_for_want_of_memory_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(MemoryState):
        refusals = 0

        async def commit(self, name: str, partition: int, commit: Commit) -> None:
            self.refusals -= 1
            if self.refusals == 0:
                raise Transient("the state store is out of memory")
            await super().commit(name, partition, commit)

    monkeypatch.setattr(overlay, "COMMIT_RECORDS", 2)
    records = [said("1", n * TEN_S, 1, n) for n in range(5)]
    log, store = filled([encode(one) for one in records]), Full()
    worker = owner(store, log)
    await worker.open()
    store.refusals, batch = 2, log.fetch(TP, 0, 5)
    with pytest.raises(Transient):
        await worker.take(batch)
    assert worker.position == 2, "the first part is safe"
    await worker.take(batch)
    assert (worker.position, await cells(store)) == (5, obvious(records))
    [(_, entries)] = await store.feed({OVERLAY: "0-0"}, 0)
    assert [len(entry.rows) for entry in entries] == [2, 2, 1]


async def test_an_idle_owner_notices_that_it_is_none_any_more() -> None:
    now, store, log = [0.0], MemoryState(), filled([encode(said("1", 0, 1, 5))])
    worker = owner(store, log, now)
    await worker.open()
    before = store.snapshot()
    await worker.take(RecordBatch(*TP, 0, 1, log.records(TP)))
    now[0] = 5.0
    await worker.tick()
    store.roll_back(before)
    now[0] = 10.0
    with pytest.raises(Superseded):
        await worker.tick()
