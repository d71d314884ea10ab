"""One cell: a metric's value of one label in one window. Pure."""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

from dataforge.kpi.columns import ALGEBRA
from dataforge.kpi.plan import Row, View

Merge = Callable[[Sequence[Row]], tuple[Any, int]]
"""Stored rows of one label, from several partitions or panes (at least one) -> (value, revision)."""


def merging(view: View) -> Merge:
    """Looked up once, for many cells. It touches only the columns the view reads: metrics that share a table do not pay
    for each other's sketches.
    """
    width, algebras = len(view.table.columns) + 1, {i: ALGEBRA[view.table.columns[i - 1].kind] for i in view.columns}
    parts = [(i, algebra.restore, algebra.merge) for i, algebra in algebras.items()]

    def merged(stored: Sequence[Row]) -> tuple[Any, int]:
        row: Row = [None] * width
        for i, restore, merge in parts:
            row[i] = reduce(merge, [restore(one[i]) for one in stored])
        return view.value(row), sum([one[0] for one in stored])

    return merged
