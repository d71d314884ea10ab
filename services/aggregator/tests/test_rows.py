"""Compiled rows are what the columns' algebra says, value by value and byte by byte."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge.kpi.columns import ALGEBRA, Column, ColumnKind
from dataforge.kpi.plan import Table

from aggregator.rows import compile_rows

numbers = st.integers(-(2**65), 2**65) | st.integers(-3, 3)
PENDING: dict[ColumnKind, st.SearchStrategy[Any]] = {
    ColumnKind.COUNT: st.integers(1, 9),
    ColumnKind.SUM: numbers,
    ColumnKind.MIN: st.none() | st.integers(-3, 3) | st.floats(-1, 1),
    ColumnKind.MAX: st.none() | st.integers(-3, 3) | st.floats(-1, 1),
    ColumnKind.HLL: st.sets(st.integers(0, 9)),
    ColumnKind.KLL: st.lists(st.floats(-1, 1), max_size=3),
    ColumnKind.FREQUENT: st.dictionaries(st.sampled_from("abc"), st.integers(1, 3)),
}


def table(kinds: tuple[ColumnKind, ...]) -> Table:
    return Table("t", (), (), (10_000,), tuple(Column(kind, ((1, "x"),)) for kind in kinds))


def by_algebra(of: Table, batches: list[list[Any]]) -> list[Any]:
    row = of.empty_row()
    for batch in batches:
        row[1:] = [ALGEBRA[c.kind].absorb(v, p) for c, v, p in zip(of.columns, row[1:], batch, strict=True)]
    return row


@st.composite
def drawn(draw: st.DrawFn, kinds: list[ColumnKind]) -> tuple[Table, list[list[Any]]]:
    chosen = tuple(draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=5)))
    return table(chosen), draw(
        st.lists(st.tuples(*(PENDING[kind] for kind in chosen)).map(list), min_size=1, max_size=5)
    )


def compiled(of: Table, batches: list[list[Any]]) -> tuple[list[Any], bytes]:
    begin, add, encode = compile_rows(of)
    row = begin(batches[0])
    for batch in batches[1:]:
        add(row, batch)
    return row, encode(row)


@given(drawn([ColumnKind.COUNT, ColumnKind.SUM, ColumnKind.MIN, ColumnKind.MAX]))
def test_exact_rows_are_bitwise_the_same(of_batches: tuple[Table, list[list[Any]]]) -> None:
    of, batches = of_batches
    row, stored = compiled(of, batches)
    expected = by_algebra(of, batches)
    assert repr(row) == repr(expected)
    assert stored == msgspec.msgpack.encode(of.store(expected))


@given(drawn(list(PENDING)))
def test_rows_with_sketches_are_the_same(of_batches: tuple[Table, list[list[Any]]]) -> None:
    of, batches = of_batches
    stored = msgspec.msgpack.decode(compiled(of, batches)[1])
    expected = of.store(by_algebra(of, batches))
    for column, ours, theirs in zip(of.columns, stored[1:], expected[1:], strict=True):
        if column.kind is not ColumnKind.KLL:  # it chooses at random what it keeps
            assert ours == theirs, column.kind


@pytest.mark.parametrize("total", [2**64 - 1, 2**64, -(2**63), -(2**63) - 1])
def test_a_sum_beyond_64_bits_travels_as_digits(total: int) -> None:
    _, stored = compiled(table((ColumnKind.SUM,)), [[total]])
    [_, found] = msgspec.msgpack.decode(stored)
    assert int(found) == total
