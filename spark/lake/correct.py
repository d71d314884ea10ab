"""Which corrections make readers see what the lake has. Pure; *Source*: docs/specs/corrections.md."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dataforge.contracts.model import OTHER
from dataforge.corrections import Correction
from dataforge.kpi.plan import View

from lake.judge import Cell, Kept, Sides, label_text, stored
from lake.live import Live


class RowOf(NamedTuple):
    """A stored row: one label of a table, in one window. Metrics that share the table are cells of it."""

    table: str
    size_ms: int
    start_ms: int
    labels: tuple[str, ...]


class Due(NamedTuple):
    corrections: list[Correction]
    unexplained: list[Cell]
    """Cells that keep their rows from being corrected: nobody knows which side is wrong."""


def due(
    event: str, found: Sides, kept: Kept, live: Live, views: Sequence[View], gold: Iterable[Mapping[str, Any]]
) -> Due:
    """For every row that is shown otherwise than the lake has it, and sealed in every partition where the lake stands.

    `gold`: its rows, as `judge.lake_cells` reads them.
    """
    partitions = range(len(next(iter(live.reads.values()), ())))
    tables = {(view.metric.name, view.by): view.table.id for view in views}
    shown_wrong = found.wrong()
    # Where a cap has put labels into one row, the lake has them apart: corrected, there would be more than the cap.
    capped = {(tables[cell.metric, cell.by], *cell[2:4]) for cell in shown_wrong if OTHER in cell.labels}
    wrong = {
        row: None
        for cell in shown_wrong
        if (row := RowOf(tables[cell.metric, cell.by], *cell[2:]))[:3] not in capped
        and kept.sealed(cell.start_ms + cell.size_ms, partitions)
    }
    rows = {_cell(row): row for row in gold} if wrong else {}
    watermark = min((kept.watermarks.get(partition, 0) for partition in partitions), default=0)
    total = Due([], [])
    for row in wrong:
        cells = {Cell(v.metric.name, v.by, *row[1:]): v for v in views if v.table.id == row.table}
        if unexplained := [cell for cell in cells if not found.explained(cell)]:
            total.unexplained.extend(unexplained)
            continue
        said = {at: value for cell, view in cells.items() if cell in rows
                for at, value in stored(view, rows[cell]).items()}  # fmt: skip
        total.corrections.append(
            Correction(
                event=event,
                table=row.table,
                size_ms=row.size_ms,
                start_ms=row.start_ms,
                label=row.labels,
                revision=_shown_revision(row, live) + 1,
                columns={at: value for at, value in said.items() if not isinstance(value, bytes)},
                sketches={at: value for at, value in said.items() if isinstance(value, bytes)},
                gone=not said,
                positions=dict(kept.positions),
                watermark=watermark,
            )
        )
    return total


def applied(corrections: Iterable[Correction], live: Live) -> int:
    """How many of them the overlay holds, or something newer."""
    return sum(
        _overlay_revision(RowOf(one.table, one.size_ms, one.start_ms, one.label), live) >= one.revision
        for one in corrections
    )


def _cell(row: Mapping[str, Any]) -> Cell:
    return Cell(row["metric"], tuple(row["by"]), row["size_ms"], row["start_ms"], tuple(row["labels"]))


def _overlay_revision(row: RowOf, live: Live) -> int:
    """0 where it has none."""
    said = live.overlays[row.table, row.size_ms].get(row.start_ms, {}).get(label_text(row.labels))
    return said[0] if said else 0


def _shown_revision(row: RowOf, live: Live) -> int:
    if revision := _overlay_revision(row, live):
        return revision
    label = label_text(row.labels)
    stored_rows = (read.windows.get(row.start_ms, {}).get(label) for read in live.reads[row.table, row.size_ms])
    return sum(one[0] for one in stored_rows if one)
