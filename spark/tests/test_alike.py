"""Sketches of the same events are alike however they were fed; one event more or less is noticed."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge.contracts.model import Measure, MeasureKind
from dataforge.kpi.columns import ALGEBRA, ColumnKind

from lake.alike import Sketched, alike, of_sketches, registers, shown

pytestmark = pytest.mark.small

QUANTILES = Measure(MeasureKind.QUANTILES, "amount", quantiles=(0.01, 0.5, 0.99))
TOP = Measure(MeasureKind.TOP_K, "sku", k=3)
COUNTS = (1, 300, 5_000, 60_000)


def stored(kind: ColumnKind, pending: Any) -> bytes:
    algebra = ALGEBRA[kind]
    return algebra.store(algebra.absorb(algebra.held(), pending))


def quantiles(values: list[float], parts: int) -> Any:
    return of_sketches(QUANTILES, [stored(ColumnKind.KLL, values[at::parts]) for at in range(parts)])


def top(items: list[str], parts: int) -> Any:
    return of_sketches(TOP, [stored(ColumnKind.FREQUENT, _counts(items[at::parts])) for at in range(parts)])


def _counts(items: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in items:
        found[item] = found.get(item, 0) + 1
    return found


def test_distinct_is_compared_by_what_is_in_it():
    hll = ALGEBRA[ColumnKind.HLL]
    for count in (10, 1_000, 2_000, 20_000):
        items = [f"c{n}" for n in range(count)]
        whole = hll.absorb(hll.held(), set(items))
        quarters = [hll.absorb(hll.held(), set(items[at::4])) for at in range(4)]
        assert registers([whole]) == registers(quarters) == registers(reversed(quarters))
        assert registers([whole]) != registers([hll.absorb(hll.held(), set(items[: count * 9 // 10]))])


@pytest.mark.parametrize("count", COUNTS)
def test_quantiles_of_the_same_values_are_alike(count: int):
    rnd = random.Random(count)
    values = [round(rnd.lognormvariate(1, 1), 2) for _ in range(count)]
    one = quantiles(values, 1)
    rnd.shuffle(values)
    assert alike(one, quantiles(values, 1))
    assert alike(quantiles(values, min(count, 7)), one)
    assert not alike(one, quantiles([*values, 3.0], 3)), "a value more"
    least = min(values)
    assert not alike(one, quantiles([least - 1, *(v for v in values if v != least)], 1)), "another least"


@pytest.mark.parametrize("count", COUNTS[1:])
def test_values_that_moved_are_noticed(count: int):
    values = [float(n) for n in range(count)]
    moved = [v + count / 5 if count * 0.2 < v < count * 0.7 else v for v in values]
    assert not alike(quantiles(values, 1), quantiles(moved, 1))


def test_of_few_values_the_smallest_change_is_noticed():
    assert not alike(quantiles([1.0, 2.0, 3.0], 1), quantiles([1.0, 2.01, 3.0], 1))
    nothing = quantiles([], 1)
    assert alike(nothing, quantiles([], 2))
    assert not alike(nothing, quantiles([1.0], 1))


@pytest.mark.parametrize("count", COUNTS)
def test_items_that_came_in_another_order_are_alike(count: int):
    rnd = random.Random(count)
    items = [f"i{int(rnd.paretovariate(0.5)) % 40_000}" for _ in range(count)]
    one = top(items, 1)
    rnd.shuffle(items)
    assert alike(one, top(items, 1))
    assert alike(top(items, min(count, 7)), one)
    assert not alike(one, top([*items, "i1"], 3)), "an item more"


@given(st.lists(st.sampled_from("abcdef"), min_size=1), st.lists(st.sampled_from("abcdef"), min_size=1))
def test_of_few_items_only_the_same_are_alike(one: list[str], other: list[str]):
    assert alike(top(one, 1), top(other, 1)) == (sorted(one) == sorted(other))


def test_what_is_no_sketch_is_equal_or_not():
    assert alike(1, 1)
    assert not alike(None, 1)
    assert not alike(quantiles([1.0], 1), None)
    assert shown(quantiles([1.0], 1)) == {"p1": 1.0, "p50": 1.0, "p99": 1.0}
    assert isinstance(top(["a"], 1), Sketched)
    assert shown(top(["a"], 1)) == [{"item": "a", "estimate": 1, "lower": 1, "upper": 1}]
