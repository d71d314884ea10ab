"""Which rows a reader merges where the lake has corrected some. Pure; *Source*: docs/specs/corrections.md."""

from collections.abc import Mapping, Sequence
from functools import reduce

from dataforge.kpi.columns import ALGEBRA
from dataforge.kpi.plan import Row, View

Overlay = Mapping[int, Mapping[str, Row]]
"""Window start (ms) -> label -> `[revision, {position: stored column}]`; null for the columns: there is no such row."""

UNCORRECTED: Overlay = {}


def overlaid(view: View, live: Sequence[tuple[int, Row]], corrections: Mapping[int, Row]) -> tuple[list[Row], bool]:
    """Of one label: the stored rows to merge, and whether a correction is among them. No rows: there is none to show.

    `live`: (start of its pane, stored row) of every partition. `corrections`: by start of the pane. One that has none
    of the view's columns is for other metrics of the table.
    """
    used = set(view.columns)
    bearing = {start: row for start, row in corrections.items() if row[1] is None or used & row[1].keys()}
    if not bearing:
        return [row for _, row in live], False
    rows = [row for start, row in live if start not in bearing]
    for start, (revision, columns) in sorted(bearing.items()):
        if columns is not None:
            rows.append(_corrected(view, revision, columns, [row for at, row in live if at == start]))
    return rows, True


def _corrected(view: View, revision: int, columns: Mapping[int, object], live: Sequence[Row]) -> Row:
    row: Row = [revision, *(None for _ in view.table.columns)]
    for at in view.columns:
        row[at] = columns[at] if at in columns else _live(view, at, live)
    return row


def _live(view: View, at: int, live: Sequence[Row]) -> object:
    algebra = ALGEBRA[view.table.columns[at - 1].kind]
    held = [algebra.restore(row[at]) for row in live]
    return algebra.store(reduce(algebra.merge, held) if held else algebra.held())
