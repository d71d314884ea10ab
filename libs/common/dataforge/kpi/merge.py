"""Merging what partitions hold into what a user sees. Pure."""

from collections.abc import Iterable, Sequence
from typing import Literal

from dataforge.kpi.columns import ALGEBRA
from dataforge.kpi.plan import Row, Table

Status = Literal["provisional", "final"]


def merge_rows(table: Table, rows: Sequence[Row]) -> Row:
    """Rows of one label, from several partitions or panes, as one. Revisions add up."""
    if len(rows) == 1:
        return rows[0]
    merged = [sum(row[0] for row in rows)]
    for i, column in enumerate(table.columns, start=1):
        merge = ALGEBRA[column.kind].merge
        value = rows[0][i]
        for row in rows[1:]:
            value = merge(value, row[i])
        merged.append(value)
    return merged


def window_status(end_ms: int, lateness_ms: int, watermarks: Iterable[int]) -> Status:
    """`final` once every partition that ever had a record has sealed the window (watermark 0: never had one)."""
    started = [w for w in watermarks if w]
    return "final" if started and all(end_ms + lateness_ms <= w for w in started) else "provisional"
