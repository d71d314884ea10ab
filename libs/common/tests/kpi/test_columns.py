"""The algebra every reader relies on: the order and grouping of additions do not matter."""

from functools import reduce
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge.kpi.columns import ALGEBRA, ColumnKind, distinct_of, label_text, quantiles_of, top_of

EXACT = [ColumnKind.COUNT, ColumnKind.SUM, ColumnKind.MIN, ColumnKind.MAX]
numbers = st.integers(-(10**12), 10**12)
parts = st.lists(st.lists(numbers, min_size=1, max_size=5), min_size=1, max_size=6)


def pending(kind: ColumnKind, values: list[int]) -> Any:
    """What one batch of these values looks like, the obvious way."""
    match kind:
        case ColumnKind.COUNT:
            return len(values)
        case ColumnKind.SUM:
            return sum(values)
        case ColumnKind.MIN:
            return min(values)
        case ColumnKind.MAX:
            return max(values)
        case ColumnKind.HLL:
            return set(values)
        case ColumnKind.KLL:
            return [float(v) for v in values]
        case ColumnKind.FREQUENT:
            return {v: values.count(v) for v in values}


def held(kind: ColumnKind, values: list[int]) -> Any:
    algebra = ALGEBRA[kind]
    return algebra.absorb(algebra.held(), pending(kind, values))


def seen(kind: ColumnKind, column: Any) -> Any:
    """What a user sees of a column; a sketch's bytes may list the same content in another order."""
    match kind:
        case ColumnKind.HLL:
            return distinct_of(column)
        case ColumnKind.KLL:
            return quantiles_of(column, (0.0, 0.25, 0.5, 0.99, 1.0))
        case ColumnKind.FREQUENT:
            return top_of(column, 1_000)
    return column


@pytest.mark.parametrize("kind", EXACT)
@given(parts=parts, data=st.data())
def test_exact_columns_merge_to_the_same_bits_in_any_order_and_grouping(
    kind: ColumnKind, parts: list[list[int]], data: st.DataObject
) -> None:
    merge = ALGEBRA[kind].merge
    values = [held(kind, part) for part in parts]
    shuffled = data.draw(st.permutations(values))
    cut = data.draw(st.integers(0, len(values)))
    left = reduce(merge, shuffled[:cut], ALGEBRA[kind].held())
    right = reduce(merge, shuffled[cut:], ALGEBRA[kind].held())
    assert merge(left, right) == reduce(merge, values) == pending(kind, [v for part in parts for v in part])


@pytest.mark.parametrize("kind", list(ColumnKind))
@given(values=st.lists(numbers, min_size=1, max_size=50))
@settings(max_examples=25)
def test_a_stored_column_comes_back_as_it_was(kind: ColumnKind, values: list[int]) -> None:
    algebra = ALGEBRA[kind]
    column = held(kind, values)
    assert seen(kind, algebra.restore(algebra.store(column))) == seen(kind, column)


@pytest.mark.parametrize("total", [2**63 - 1, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 3 * 10**30])
def test_a_sum_of_valid_integers_can_always_be_stored(total: int) -> None:
    """Each event's integer fits into 64 bits; their sum need not."""
    algebra = ALGEBRA[ColumnKind.SUM]
    stored = msgspec.msgpack.encode(algebra.store(total))
    assert algebra.restore(msgspec.msgpack.decode(stored)) == total


def test_both_zeros_are_one_label_and_one_item_however_batches_are_cut() -> None:
    assert label_text(-0.0) == label_text(0.0) == "0.0"
    algebra = ALGEBRA[ColumnKind.HLL]
    together = algebra.absorb(algebra.held(), {0.0, -0.0})
    apart = algebra.absorb(algebra.absorb(algebra.held(), {0.0}), {-0.0})
    assert distinct_of(together) == distinct_of(apart) == 1


@pytest.mark.parametrize("kind", list(ColumnKind))
def test_merging_changes_neither_side(kind: ColumnKind) -> None:
    algebra = ALGEBRA[kind]
    a, b = held(kind, [1, 2, 3]), held(kind, [3, 4])
    before = algebra.store(a), algebra.store(b)
    algebra.merge(a, b)
    assert (algebra.store(a), algebra.store(b)) == before


def test_distinct_is_exact_for_few_values_and_within_its_error_for_many() -> None:
    merge = ALGEBRA[ColumnKind.HLL].merge
    sketches = [held(ColumnKind.HLL, list(range(n, 60_000, 3))) for n in range(3)]
    assert distinct_of(held(ColumnKind.HLL, [1, 2, 2, 3])) == 3
    assert abs(distinct_of(reduce(merge, sketches)) - 60_000) <= 60_000 * 4 * 0.0081


def test_quantiles_are_within_their_rank_error_after_merging() -> None:
    merge = ALGEBRA[ColumnKind.KLL].merge
    sketches = [held(ColumnKind.KLL, list(range(n, 50_000, 5))) for n in range(5)]
    found = quantiles_of(reduce(merge, sketches), (0.5, 0.99))
    assert found["p50"] == pytest.approx(25_000, abs=0.02 * 50_000)
    assert found["p99"] == pytest.approx(49_500, abs=0.02 * 50_000)
    assert quantiles_of(ALGEBRA[ColumnKind.KLL].held(), (0.5,)) == {"p50": None}


def test_top_items_carry_bounds_that_hold_the_true_count() -> None:
    counts = {n: 20_000 // (n + 1) for n in range(5_000)}
    algebra = ALGEBRA[ColumnKind.FREQUENT]
    sketch = algebra.absorb(algebra.held(), counts)
    for item in top_of(sketch, 10):
        assert int(item["lower"]) <= counts[int(item["item"])] <= int(item["upper"])
    assert [item["item"] for item in top_of(sketch, 3)] == ["0", "1", "2"]
