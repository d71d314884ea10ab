"""Questions become selections, or say what can be asked instead."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge.kpi.catalogue import Catalogue, Unanswerable, duration_text
from dataforge.kpi.instants import instant, parse_instant
from dataforge.kpi.query import window_rows
from dataforge.kpi.value import merging
from dataforge.state.memory import MemoryState
from dataforge.testing.kpis import open_writers, sale, sample_domain

SHOP = sample_domain()
ONE = Catalogue([SHOP])


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [(250, "250ms"), (10_000, "10s"), (60_000, "1m"), (90_000, "90s"), (3_600_000, "1h"), (172_800_000, "2d")],
)
def test_durations_are_written_as_people_do(duration_ms: int, text: str):
    assert duration_text(duration_ms) == text


def test_what_is_left_out_is_the_only_domain_the_smallest_window_and_the_total():
    selection = ONE.select(metric="revenue")
    assert (selection.name, selection.window, selection.view.by, selection.wanted) == ("shop.sale.v1", "10s", (), None)


def test_a_rolling_window_is_read_from_its_panes():
    selection = ONE.select(metric="revenue", window="rolling:60s")
    assert (selection.window, selection.size_ms, selection.step_ms) == ("rolling:1m", 60_000, 10_000)


def test_where_chooses_labels_and_the_order_of_values_is_no_difference():
    a = ONE.select(metric="revenue", by=("store",), where={"store": ["1", "2"]})
    b = ONE.select(metric="revenue", by=("store",), where={"store": ["2", "1"]})
    assert a.key == b.key
    assert a.wanted is not None
    assert [a.wanted(("1",)), a.wanted(("3",))] == [True, False]


@pytest.mark.parametrize(
    ("question", "code", "named"),
    [
        ({"metric": "x"}, "unknown_metric", "revenue"),
        ({"metric": "revenue", "domain": "x"}, "unknown_domain", "shop"),
        ({"metric": "revenue", "event": "x"}, "unknown_event", "sale.v1"),
        ({"metric": "revenue", "by": ("customer",)}, "unknown_dimension", "store"),
        ({"metric": "customers", "by": ("store",)}, "unknown_dimension", "the total"),
        ({"metric": "revenue", "window": "1"}, "bad_window", "rolling:1m"),
        ({"metric": "customers", "window": "10s"}, "bad_window", "1m"),
        ({"metric": "revenue", "where": {"store": ["1"]}}, "bad_where", "it is a total"),
    ],
)
def test_the_hint_names_what_there_is(question: dict[str, Any], code: str, named: str):
    with pytest.raises(Unanswerable) as caught:
        ONE.select(**question)
    assert caught.value.code == code
    assert named in caught.value.hint


def test_several_domains_must_be_told_apart():
    two = Catalogue([SHOP, sample_domain(name="bar")])
    with pytest.raises(Unanswerable, match="shop, bar"):
        two.select(metric="revenue")
    assert two.select(metric="revenue", domain="bar").name == "bar.sale.v1"


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-999, 999), st.sampled_from("ab")), min_size=1, max_size=8))
async def test_one_cell_is_worth_what_the_whole_row_is(events: list[tuple[int, int, str]]):
    """Reading only the columns of a view changes nothing: for every metric, over several partitions."""
    state = MemoryState()
    for partition, writer in enumerate(await open_writers(state, SHOP)):
        await writer.write([sale(60_000, "1", who, cents) for p, cents, who in events if p == partition])
    for metric in SHOP.events[0].metrics:
        selection = ONE.select(metric=metric, window="1m")
        reads = [await state.read(selection.name, p, selection.view.table.id, 60_000, 0, 10**15) for p in range(2)]
        [row] = window_rows(selection.view, 60_000, reads, 0)
        stored = [labels["[]"] for read in reads for labels in read.windows.values()]
        assert merging(selection.view)(stored) == (row.value, row.revision)


@given(st.integers(0, 253_402_300_799_999))
def test_instants_are_read_as_they_are_written(at_ms: int):
    assert parse_instant(instant(at_ms)) == parse_instant(str(at_ms)) == at_ms


@pytest.mark.parametrize("text", ["", "yesterday", "-1", "99999-01-01T00:00:00Z", "253402300800000"])
def test_what_is_no_instant_is_refused(text: str):
    with pytest.raises(ValueError, match=r"isoformat|year|instant"):
        parse_instant(text)


def test_an_instant_without_an_offset_is_utc():
    assert parse_instant("2026-01-05T10:00:00") == parse_instant("2026-01-05T11:00:00+01:00")
