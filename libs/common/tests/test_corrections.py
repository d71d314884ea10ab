"""Corrections as records, and what they do to the rows a reader shows."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge.corrections import OVERLAY, Correction, decode, encode, key_of, overlay_table
from dataforge.errors import Rejected
from dataforge.kpi.columns import ALGEBRA, ColumnKind
from dataforge.kpi.overlay import Overlay
from dataforge.kpi.plan import View, plan
from dataforge.kpi.query import KpiRow, rolling_rows, window_rows
from dataforge.state.memory import MemoryState
from dataforge.testing.kpis import KpiWriter, OverlayWriter, correction, sale, sample_domain

DOMAIN = sample_domain()
EVENT = DOMAIN.events[0]
NAME, LATENESS_MS, PLAN = EVENT.contract.name, EVENT.lateness_ms, plan(EVENT)
MINUTE, TEN_S = 60_000, 10_000

stored = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
corrections = st.builds(
    Correction,
    event=st.just(NAME),
    table=st.text(),
    size_ms=st.just(MINUTE),
    start_ms=st.integers(0, 10**6).map(lambda n: n * MINUTE),
    label=st.lists(st.text(), max_size=3).map(tuple),
    revision=st.integers(1, 2**53),
    columns=st.dictionaries(st.integers(1, 9), stored, min_size=1),
    sketches=st.dictionaries(st.integers(10, 12), st.binary()),
    positions=st.dictionaries(st.integers(0, 9), st.integers(0, 2**53)),
    watermark=st.integers(0, 2**53),
)


@given(corrections)
def test_a_correction_is_read_as_it_was_written(one: Correction):
    assert decode(encode(one)) == one


@given(
    st.binary() | st.text().map(str.encode) | st.recursive(st.none() | st.text(), st.lists).map(repr).map(str.encode)
)
def test_no_bytes_do_more_than_be_rejected(value: bytes):
    with pytest.raises(Rejected, match="malformed"):
        decode(value)


GOOD: dict[str, Any] = {
    "event": NAME, "table": "t", "size_ms": 10, "start_ms": 20, "label": ["a"], "revision": 1, "columns": {1: 5},
}  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"start_ms": 25},
        {"start_ms": -10},
        {"size_ms": 0},
        {"revision": 0},
        {"label": [1]},
        {"columns": {0: 1}},
        {"columns": {}},
        {"gone": True},
        {"columns": {1: [2]}},
    ],
)
def test_what_contradicts_itself_is_rejected(wrong: dict[str, Any]):
    assert decode(msgspec.json.encode(GOOD)).columns == {1: 5}
    with pytest.raises(Rejected):
        decode(msgspec.json.encode(GOOD | wrong))


class World:
    """A state with two partitions and an overlay, read as the API does."""

    def __init__(self) -> None:
        self.state = MemoryState()
        self.writers = [KpiWriter(self.state, DOMAIN, p) for p in range(2)]
        self.overlay = OverlayWriter(self.state)

    async def open(self) -> "World":
        for writer in (*self.writers, self.overlay):
            await writer.open()
        return self

    async def rows(self, view: View, size_ms: int, at_ms: int | None = None) -> list[KpiRow]:
        table = view.table.id
        reads = [await self.state.read(NAME, p, table, size_ms, 0, 2**53) for p in range(2)]
        overlay: Overlay = (await self.state.read(*OVERLAY, overlay_table(NAME, table), size_ms, 0, 2**53)).windows
        if at_ms is not None:
            return rolling_rows(view, view.metric.rolling[0], reads, at_ms, LATENESS_MS, None, overlay)
        return window_rows(view, size_ms, reads, LATENESS_MS, None, overlay)


@pytest.fixture
async def world() -> World:
    world = await World().open()
    await world.writers[0].write([sale(0, "1", cents=100), sale(0, "2", cents=10)])
    await world.writers[1].write([sale(0, "1", cents=200), sale(TEN_S, "1", cents=50)])
    return world


REVENUE, SALES, PRICE = (PLAN.view(metric, ("store",)) for metric in ("revenue", "sales", "price"))


def shown(rows: list[KpiRow]) -> dict[Any, Any]:
    return {(row.start_ms, *row.labels): (row.value, row.revision, row.corrected) for row in rows}


async def test_a_corrected_row_is_shown_in_place_of_the_merged_one(world: World):
    before = shown(await world.rows(REVENUE, MINUTE))
    assert before == {(0, "1"): (3.5, 0, False), (0, "2"): (0.1, 0, False)}
    await world.overlay.write(correction(NAME, REVENUE, MINUTE, 0, ("1",), 777, revision=3))
    assert shown(await world.rows(REVENUE, MINUTE)) == before | {(0, "1"): (7.77, 3, True)}
    assert shown(await world.rows(REVENUE, TEN_S)).keys() == {(0, "1"), (0, "2"), (TEN_S, "1")}, "another window"


async def test_only_the_columns_that_it_names_are_corrected(world: World):
    """Revenue and units are the two sums of a price; both share a row with the number of sales."""
    await world.overlay.write(correction(NAME, REVENUE, MINUTE, 0, ("1",), 900))
    assert shown(await world.rows(PRICE, MINUTE))[0, "1"] == (3.0, 1, True), "900 cents, and the live 3 units"
    assert shown(await world.rows(SALES, MINUTE))[0, "1"] == (3, 0, False)


async def test_a_row_that_is_gone_is_not_shown_and_one_that_only_the_lake_has_is(world: World):
    await world.overlay.write(
        correction(NAME, REVENUE, MINUTE, 0, ("2",)), correction(NAME, REVENUE, MINUTE, MINUTE, ("9",), 1)
    )
    assert shown(await world.rows(REVENUE, MINUTE)).keys() == {(0, "1"), (MINUTE, "9")}
    assert shown(await world.rows(SALES, MINUTE)).keys() == {(0, "1")}, "9 has no number of sales that anybody knows"


async def test_a_rolling_window_is_merged_from_corrected_panes(world: World):
    before = shown(await world.rows(REVENUE, TEN_S, MINUTE))
    assert before == {(0, "1"): (3.5, 0, False), (0, "2"): (0.1, 0, False)}
    await world.overlay.write(
        correction(NAME, REVENUE, TEN_S, 0, ("1",), 1_000, revision=2),
        correction(NAME, REVENUE, TEN_S, 0, ("2",)),
        correction(NAME, REVENUE, TEN_S, MINUTE, ("1",), 5_000),
    )
    assert shown(await world.rows(REVENUE, TEN_S, MINUTE)) == {(0, "1"): (10.5, 2, True)}


async def test_a_sketch_is_replaced_as_a_whole(world: World):
    view, hll = PLAN.view("customers"), ALGEBRA[ColumnKind.HLL]
    sketch = hll.store(hll.absorb(hll.held(), {"a", "b", "c", "d"}))
    await world.overlay.write(correction(NAME, view, MINUTE, 0, (), sketch))
    assert shown(await world.rows(view, MINUTE)) == {(0,): (4, 1, True)}
    other = PLAN.view("amounts")
    assert other.table is view.table
    assert not shown(await world.rows(other, MINUTE))[0,][2], "a sketch of the same row that was not corrected"


async def test_a_view_of_two_columns_where_the_live_side_has_none(world: World):
    await world.overlay.write(correction(NAME, REVENUE, MINUTE, 0, ("9",), 900))
    found = shown(await world.rows(PRICE, MINUTE))
    assert found[0, "9"] == (None, 1, True), "no units are known: undefined"


def test_only_labels_that_are_wanted_are_shown():
    said: Overlay = {0: {'["1"]': [1, {REVENUE.columns[0]: 100}], '["2"]': [1, {REVENUE.columns[0]: 200}]}}
    rows = window_rows(REVENUE, MINUTE, [], LATENESS_MS, lambda labels: labels == ("2",), said)
    assert [(row.labels, row.value) for row in rows] == [(("2",), 2.0)]


def test_the_key_tells_cells_apart():
    one = decode(b'{"event":"a.b.v1","table":"t","size_ms":10,"start_ms":0,"label":["x"],"revision":1,"gone":true}')
    keys = {key_of(msgspec.structs.replace(one, **{name: value})) for name, value in [
        ("event", "a.c.v1"), ("table", "u"), ("size_ms", 20), ("start_ms", 10), ("label", ("y",)), ("revision", 1),
    ]}  # fmt: skip
    assert len(keys) == 6
    assert key_of(msgspec.structs.replace(one, revision=2)) == key_of(one)
