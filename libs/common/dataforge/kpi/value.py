"""One cell: a metric's value of one label in one window. Pure."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

from dataforge.kpi.columns import ALGEBRA
from dataforge.kpi.plan import Row, View


def value_of(view: View, stored: Sequence[Row]) -> tuple[Any, int]:
    """(value, revision) of stored rows of one label, from several partitions or panes.

    Touches only the columns the view reads: metrics that share a table do not pay for each other's sketches.
    """
    merged: Row = [None] * (len(view.table.columns) + 1)
    for i in set(view.columns):
        algebra = ALGEBRA[view.table.columns[i - 1].kind]
        merged[i] = reduce(algebra.merge, (algebra.restore(row[i]) for row in stored))
    return view.value(merged), sum(row[0] for row in stored)
