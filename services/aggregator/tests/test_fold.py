"""The fold's algebra: batch boundaries, repeats, crashes and zombies change nothing (DESIGN R3, R4, R6a)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge.contracts.model import MeasureKind
from dataforge.errors import Fatal, Superseded
from dataforge.kpi.query import window_rows
from dataforge.state.memory import MemoryState
from dataforge.state.model import Commit
from dataforge.stream.records import LogRecord, RecordBatch, TopicPartition

from aggregator.compile import Compiled
from aggregator.contribute import Pending
from aggregator.partition import AggregatorPartition, Pace
from aggregator.windows import Windows
from sale_events import LATENESS, METRICS, MINUTE, SECOND, START, compiled, judged, numbered, sale
from sale_oracle import expected

SHOP = compiled()
TP = TopicPartition(SHOP.event.contract.judged_topic, 0)
EXACT = {"sales", "revenue", "discounts", "average", "cheapest", "dearest", "rate", "big", "customers"}


def batches(records: Sequence[LogRecord], cuts: Sequence[int], start: int = 0) -> list[RecordBatch]:
    edges = sorted({start, len(records), *(c for c in cuts if start < c < len(records))})
    return [RecordBatch(*TP, a, b, records[a:b]) for a, b in pairwise(edges)]


def owner(store: MemoryState, now: Sequence[float] = (0.0,), shop: Compiled = SHOP, every: bool = True) -> Any:
    """A partition that commits at every take, or only when closed."""
    return AggregatorPartition(TP, shop, store, lambda: now[0], Pace(0.0 if every else 1e9))


async def fold_all(store: MemoryState, records: Sequence[LogRecord], cuts: Sequence[int] = ()) -> AggregatorPartition:
    worker = owner(store)
    start = await worker.open()
    for batch in batches(records, cuts, start):
        await worker.take(batch)
    await worker.close()
    return worker


async def values_of(store: MemoryState, shop: Compiled = SHOP) -> dict[tuple[Any, ...], Any]:
    found = {}
    for (name, _), view in shop.plan.views.items():
        for size in view.table.windows_ms:
            read = await store.read(shop.name, 0, view.table.id, size, 0, 2**60)
            for row in window_rows(view, size, [read], LATENESS):
                if name in EXACT:
                    found[name, size, row.start_ms, row.labels] = row.value
    return found


async def outcomes_of(store: MemoryState) -> dict[str, int]:
    total: dict[str, int] = {}
    for counts in (await store.ledger(SHOP.name, 0)).values():
        for outcome in ("counted", "duplicate", "late"):
            total[outcome] = total.get(outcome, 0) + counts[outcome]
        total["undecodable"] = total.get("undecodable", 0) + sum(counts["undecodable"].values())
    return {k: n for k, n in total.items() if n}


sales = st.builds(
    sale,
    st.integers(0, 30).map(str),
    st.integers(-90, 30).map(lambda s: START + s * SECOND),
    shop=st.integers(1, 3),
    product=st.integers(1, 4),
    customer=st.sampled_from("abcdef"),
    amount=st.integers(0, 999).map(lambda c: c / 100),
    discount=st.none() | st.integers(0, 99).map(lambda c: c / 100),
)


@st.composite
def logs(draw: st.DrawFn) -> list[LogRecord]:
    """A judged partition: raw records with rising append times, some repeated by a zombie judge."""
    records, src, ts = [], 0, START
    for found in draw(st.lists(sales | st.none(), max_size=40)):
        ts += draw(st.integers(0, 5)) * SECOND
        base, src = src, src + draw(st.integers(0, 2))
        records.append(judged(src, ts, found, base=base, reason="" if found else "not_json"))
        src += 1
        if draw(st.integers(0, 9)) == 0:
            again = draw(st.integers(1, len(records)))
            records += records[-again:]
    return numbered(records)


@settings(max_examples=60)
@given(logs(), st.lists(st.integers(0, 60), max_size=8))
async def test_windows_and_outcomes_are_those_of_the_obvious_computation(log: list[LogRecord], cuts: list[int]) -> None:
    store = MemoryState()
    await fold_all(store, log, cuts)
    values, outcomes = expected(log)
    assert await values_of(store) == values
    assert await outcomes_of(store) == outcomes


@st.composite
def rival_judges(draw: st.DrawFn) -> tuple[list[LogRecord], int]:
    """A judged partition that two judges wrote to at once, each in order, of two minds on every record; and how
    many raw records there were.
    """
    raw = draw(st.lists(st.tuples(st.integers(0, 5), sales), min_size=1, max_size=15))
    queues: list[list[LogRecord]] = []
    for judge in range(2):
        start = draw(st.integers(0, len(raw) - 1)) if judge else 0
        ts, records = START, []
        for src, (later_s, found) in enumerate(raw):
            ts += later_s * SECOND
            verdict = found if draw(st.booleans()) else None
            records.append(judged(src, ts, verdict, reason="" if verdict else "not_json"))
        queues.append(records[start:])
    written: list[LogRecord] = []
    while any(queues):
        queue = draw(st.sampled_from([q for q in queues if q]))
        written.append(queue.pop(0))
    return numbered(written), len(raw)


@settings(max_examples=60)
@given(rival_judges(), st.lists(st.integers(0, 40), max_size=8))
async def test_records_of_a_zombie_judge_between_the_others_count_each_raw_record_once(
    written: tuple[list[LogRecord], int], cuts: list[int]
) -> None:
    log, raw = written
    store, whole = MemoryState(), MemoryState()
    await fold_all(store, log, cuts)
    await fold_all(whole, log)
    values, outcomes = expected(log)
    assert await values_of(store) == await values_of(whole) == values
    assert await outcomes_of(store) == outcomes
    assert sum(outcomes.values()) == (await store.head(SHOP.name, 0)).next == raw
    assert await store.ledger(SHOP.name, 0) == await whole.ledger(SHOP.name, 0)


@settings(max_examples=60)
@given(logs(), st.lists(st.integers(0, 60), max_size=8), st.lists(st.integers(0, 8), max_size=4))
async def test_crashes_and_zombies_change_nothing(log: list[LogRecord], cuts: list[int], crashes: list[int]) -> None:
    calm, stormy = MemoryState(), MemoryState()
    await fold_all(calm, log)
    for crash in crashes:
        zombie = owner(stormy)
        await zombie.open()
        worker = owner(stormy)
        start = await worker.open()
        todo = batches(log, cuts, start)
        for batch in todo[:crash]:
            await worker.take(batch)
        if todo:
            with pytest.raises(Superseded):
                await zombie.take(todo[0])
    await fold_all(stormy, log, cuts)
    assert await values_of(stormy) == await values_of(calm)
    assert await stormy.ledger(SHOP.name, 0) == await calm.ledger(SHOP.name, 0)


@settings(max_examples=40)
@given(logs(), st.lists(st.integers(0, 60), max_size=8), st.integers(0, 8))
async def test_a_store_that_lost_its_tail_heals_by_reading_again(
    log: list[LogRecord], cuts: list[int], kept: int
) -> None:
    store, calm = MemoryState(), MemoryState()
    await fold_all(calm, log)
    worker = owner(store)
    todo = batches(log, cuts, await worker.open())
    for batch in todo[:kept]:
        await worker.take(batch)
    snapshot = store.snapshot()
    for batch in todo[kept:]:
        await worker.take(batch)
    store.roll_back(snapshot)
    await fold_all(store, log, cuts)
    assert await values_of(store) == await values_of(calm)


async def test_an_idle_owner_notices_a_new_claim() -> None:
    store, now = MemoryState(), [0.0]
    idle = owner(store, now)
    await idle.open()
    await idle.tick()
    await owner(store).open()
    now[0] = 1.5
    with pytest.raises(Superseded, match="another worker took the partition"):
        await idle.tick()


async def test_a_revision_counts_events_that_came_after_their_window_had_ended() -> None:
    store = MemoryState()
    at = START - START % MINUTE
    log = numbered(
        [
            judged(0, at, sale("a", at)),
            judged(1, at + 12 * SECOND, sale("b", at + 12 * SECOND)),
            judged(2, at + 13 * SECOND, sale("c", at + SECOND)),
        ]
    )
    await fold_all(store, log, [2])
    view = SHOP.plan.view("sales")
    for size, revision in ((10 * SECOND, 1), (MINUTE, 0)):
        read = await store.read(SHOP.name, 0, view.table.id, size, at, at + 1)
        assert [(r.value, r.revision) for r in window_rows(view, size, [read], LATENESS)] == [
            (2 if size < MINUTE else 3, revision)
        ]


async def test_windows_are_final_after_lateness_and_gone_after_their_time_to_live() -> None:
    store, shop = MemoryState(), compiled(ttl_ms=2 * MINUTE)
    at = START - START % MINUTE
    worker = AggregatorPartition(TP, shop, store, lambda: 0.0, Pace(0.0))
    await worker.open()
    view = shop.plan.view("sales")

    async def status(step: int, later_ms: int) -> list[str]:
        record = judged(step, at + later_ms, sale(str(step), at + later_ms))._replace(offset=step)
        await worker.take(RecordBatch(*TP, step, step + 1, [record]))
        read = await store.read(shop.name, 0, view.table.id, MINUTE, at, at + 1)
        return [row.status for row in window_rows(view, MINUTE, [read], LATENESS)]

    assert await status(0, 0) == ["provisional"]
    assert await status(1, MINUTE + LATENESS - 1) == ["provisional"]
    assert await status(2, MINUTE + LATENESS) == ["final"]
    assert await status(3, 3 * MINUTE - 1) == ["final"]
    assert await status(4, 3 * MINUTE) == []


async def test_labels_past_the_cap_share_one_row() -> None:
    store, shop = MemoryState(), compiled(label_cap=2)
    log = numbered([judged(n, START, sale(str(n), START, shop=n)) for n in range(5)])
    for cut in (2, 5):
        worker = AggregatorPartition(TP, shop, store, lambda: 0.0, Pace(0.0))
        start = await worker.open()
        await worker.take(RecordBatch(*TP, start, cut, log[start:cut]))
    view = shop.plan.view("sales", ("shop",))
    read = await store.read(shop.name, 0, view.table.id, MINUTE, 0, 2**60)
    rows = {row.labels: row.value for row in window_rows(view, MINUTE, [read], LATENESS)}
    assert rows == {("0",): 1, ("1",): 1, ("__other__",): 3}


async def test_a_gap_at_the_end_of_a_batch_leaves_the_state_as_one_in_a_batch_of_its_own() -> None:
    log = numbered([judged(0, START, sale("a", START)), judged(5, START, sale("b", START), base=5)])
    whole, apart = MemoryState(), MemoryState()
    await fold_all(whole, log)
    await fold_all(apart, log, [1])
    metas = [(await store.load(SHOP.name, 0, LATENESS)).meta for store in (whole, apart)]
    assert metas[0]["topic_id"]
    assert {name for name in metas[0] if metas[0][name] != metas[1][name]} == {"claim", "feed"}


@pytest.mark.parametrize("cuts", [(3,), (1, 3), (2, 3), (1, 2, 3)])
async def test_the_first_labels_of_the_log_get_the_rows_wherever_commits_are(cuts: Sequence[int]) -> None:
    """The third event's label is the second one in its window."""
    store, shop = MemoryState(), compiled(label_cap=2)
    at = (START, START + MINUTE, START)
    log = numbered([judged(n, START, sale(str(n), ms, shop=n)) for n, ms in enumerate(at)])
    worker = owner(store, shop=shop)
    start = await worker.open()
    for cut in cuts:
        await worker.take(RecordBatch(*TP, start, cut, log[start:cut]))
        start = cut
    view = shop.plan.view("sales", ("shop",))
    read = await store.read(shop.name, 0, view.table.id, MINUTE, 0, 2**60)
    rows = {(row.start_ms, *row.labels) for row in window_rows(view, MINUTE, [read], LATENESS)}
    window = START - START % MINUTE
    assert rows == {(window, "0"), (window + MINUTE, "1"), (window, "__other__")}


async def test_top_k_names_the_most_frequent_items_with_bounds() -> None:
    store = MemoryState()
    log = numbered(
        [judged(n, START, sale(str(n), START, product=product)) for n, product in enumerate([1, 1, 1, 2, 2, 3])]
    )
    await fold_all(store, log)
    view = SHOP.plan.view("top")
    read = await store.read(SHOP.name, 0, view.table.id, MINUTE, 0, 2**60)
    [row] = window_rows(view, MINUTE, [read], LATENESS)
    assert [(i["item"], i["estimate"], i["lower"], i["upper"]) for i in row.value] == [("1", 3, 3, 3), ("2", 2, 2, 2)]


def test_every_kind_of_measure_is_covered_here() -> None:
    assert {m.measure.kind for m in METRICS} == set(MeasureKind)


async def test_an_event_is_late_exactly_when_its_time_plus_lateness_reaches_the_watermark() -> None:
    store = MemoryState()
    log = [judged(0, START, sale("now", START))]
    log += [judged(n, START, sale(str(n), START - LATENESS + early)) for n, early in ((1, 1), (2, 0))]
    await fold_all(store, numbered(log))
    assert await outcomes_of(store) == {"counted": 2, "late": 1}


async def test_a_label_too_long_to_be_one_counts_as_other() -> None:
    store, long = MemoryState(), 10**300
    log = numbered([judged(n, START, sale(str(n), START, shop=shop)) for n, shop in enumerate([1, long, long])])
    await fold_all(store, log)
    view = SHOP.plan.view("sales", ("shop",))
    read = await store.read(SHOP.name, 0, view.table.id, MINUTE, 0, 2**60)
    rows = {row.labels: row.value for row in window_rows(view, MINUTE, [read], LATENESS)}
    assert rows == {("1",): 1, ("__other__",): 2}


class Recorder(MemoryState):
    """Remembers each commit with the watermark that stood before it."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[tuple[int, Commit]] = []

    async def commit(self, name: str, partition: int, commit: Commit) -> None:
        self.commits.append(((await self.head(name, partition)).watermark, commit))
        await super().commit(name, partition, commit)


@settings(max_examples=60)
@given(logs(), st.lists(st.integers(0, 60), max_size=20))
async def test_a_window_is_never_written_after_the_commit_that_sealed_it(log: list[LogRecord], cuts: list[int]) -> None:
    store = Recorder()
    for half in (log[: len(log) // 2], log):
        await fold_all(store, half, cuts)  # the second half by another owner
    for watermark, commit in store.commits:
        assert all(commit.ends[key] + LATENESS > watermark for key in commit.windows)


def test_a_fold_that_would_write_a_sealed_window_is_stopped() -> None:
    windows = Windows(SHOP.plan)
    windows.drop_sealed(START + MINUTE)
    pending: list[Pending] = [{} for _ in SHOP.plan.tables]
    pending[0][START - MINUTE] = {(): SHOP.plan.tables[0].empty_row()[1:]}
    with pytest.raises(Fatal, match="sealed"):
        windows.absorb(pending, [[()] for _ in SHOP.plan.tables], [])


async def test_a_ledger_minute_says_where_it_can_be_folded_from() -> None:
    """A minute that goes on after its successor began (append times went back) keeps what stood at its first record."""
    store, minute = MemoryState(), START - START % MINUTE
    log = numbered(
        [
            judged(3, minute, sale("a", minute), base=0),
            judged(4, minute + MINUTE, sale("b", minute + MINUTE)),
            judged(4, minute + MINUTE, sale("b", minute + MINUTE)),  # a zombie's: not accepted
            judged(9, minute + 1, sale("c", minute + MINUTE), base=5),
            judged(10, minute + 2 * MINUTE, None, reason="not_json"),
        ]
    )
    await fold_all(store, log, [2])
    ledger = await store.ledger(SHOP.name, 0)
    assert [(m - minute, e["position"], e["next"], e["watermark"]) for m, e in sorted(ledger.items())] == [
        (0, 0, 0, 0),
        (MINUTE, 1, 4, minute),
        (2 * MINUTE, 4, 10, minute + MINUTE),
    ]
    assert [e["valid"] for _, e in sorted(ledger.items())] == [2, 1, 0]
