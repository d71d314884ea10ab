"""Gold beside the live numbers: which windows are equal, which differ as they must, which nobody can explain. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import msgspec

from dataforge.contracts.model import MeasureKind
from dataforge.kpi.catalogue import duration_text
from dataforge.kpi.columns import ALGEBRA, ColumnKind
from dataforge.kpi.instants import instant
from dataforge.kpi.plan import Row, View
from dataforge.kpi.query import window_rows
from dataforge.state.model import PartitionRead

FIRST = 20
"""So many of the windows that differ are named."""


class Cell(NamedTuple):
    """One metric's value of one label in one window."""

    metric: str
    by: tuple[str, ...]
    size_ms: int
    start_ms: int
    labels: tuple[str, ...]


Cells = dict[Cell, Any]


class Difference(msgspec.Struct, frozen=True):
    metric: str
    by: tuple[str, ...]
    window: str
    start: str
    labels: tuple[str, ...]
    live: Any
    """None where there is no such row."""
    lake: Any
    explained: bool
    """Late events and far repeats make exactly this difference."""


class Agreement(msgspec.Struct):
    """Of one event, or of all."""

    compared: int = 0
    equal: int = 0
    corrected: int = 0
    """Nothing corrects live numbers yet."""
    explained: int = 0
    unexplained: int = 0
    first: list[Difference] = []

    def add(self, other: "Agreement") -> None:
        self.compared += other.compared
        self.equal += other.equal
        self.explained += other.explained
        self.unexplained += other.unexplained
        self.first = [*self.first, *other.first][:FIRST]


class Kept(NamedTuple):
    """Which windows can be held against each other: those that both sides still have, at one state of the log."""

    positions: Mapping[int, int]
    """Partition -> judged offset up to which the lake has the log."""
    watermarks: Mapping[int, int]
    """Partition -> the log's watermark there, in ms."""
    lateness_ms: int
    ttl_ms: int

    def holds(self, end_ms: int, reads: Sequence[PartitionRead]) -> bool:
        if any(read.watermark >= end_ms + self.ttl_ms for read in reads):
            return False  # expired, in some partition at least
        if all(read.position == self.positions.get(read.partition, 0) for read in reads):
            return True
        # What is sealed where the lake stands is the same in every later state of the live numbers.
        ahead = all(read.position >= self.positions.get(read.partition, 0) for read in reads)
        return ahead and all(end_ms + self.lateness_ms <= self.watermarks.get(read.partition, 0) for read in reads)


def live_cells(views: Iterable[View], reads: Mapping[tuple[str, int], Sequence[PartitionRead]], kept: Kept) -> Cells:
    found: Cells = {}
    for view in views:
        for size_ms in view.table.windows_ms:
            of_window = reads[view.table.id, size_ms]
            for row in window_rows(view, size_ms, of_window, kept.lateness_ms):
                if kept.holds(row.end_ms, of_window):
                    cell = Cell(view.metric.name, view.by, size_ms, row.start_ms, row.labels)
                    found[cell] = _sketched(view, cell, of_window) if _is_distinct(view) else row.value
    return found


def _is_distinct(view: View) -> bool:
    return view.metric.measure.kind is MeasureKind.DISTINCT


def _sketched(view: View, cell: Cell, reads: Sequence[PartitionRead]) -> float:
    label = msgspec.json.encode(cell.labels).decode()
    stored = [read.windows[cell.start_ms][label] for read in reads if label in read.windows.get(cell.start_ms, {})]
    return registers(ALGEBRA[ColumnKind.HLL].restore(row[view.columns[0]]) for row in stored)


def registers(sketches: Iterable[Any]) -> float:
    """The estimate that sketches make together by their registers alone, not rounded.

    Others, the API's among them, also remember in which order a sketch came to its registers. This one is equal where
    the same was counted.
    """
    merge = ALGEBRA[ColumnKind.HLL].merge
    merged = reduce(merge, sketches)
    return merge(merged, merged).get_estimate()


def lake_cells(views: Mapping[tuple[str, tuple[str, ...]], View], rows: Iterable[Any]) -> Cells:
    """From rows of gold: metric, by, size_ms, start_ms, labels, value, top, bottom, sketch."""
    found: Cells = {}
    for row in rows:
        cell = Cell(row["metric"], tuple(row["by"]), row["size_ms"], row["start_ms"], tuple(row["labels"]))
        view = views.get((cell.metric, cell.by))
        if view is not None:
            found[cell] = _distinct(row) if _is_distinct(view) else view.value(_held(view, row))
    return found


def _distinct(row: Any) -> float:
    return registers([ALGEBRA[ColumnKind.HLL].restore(bytes(row["sketch"]))])


def _held(view: View, row: Any) -> Row:
    """The row as the live numbers hold it, so that both become a value in the same way."""
    held: Row = [None] * (len(view.table.columns) + 1)
    parts = [None if row[name] is None else int(row[name]) for name in ("top", "bottom")]
    for at, part in zip(view.columns, parts, strict=False):
        held[at] = part
    if row["top"] is None:  # the least or largest of numbers without stated digits
        held[view.columns[0]] = row["value"]
    return held


def differing(live: Cells, lake: Cells) -> list[Cell]:
    """A row without a value is not the same as no row."""
    both = live.keys() & lake.keys()
    return sorted([*(live.keys() ^ lake.keys()), *(cell for cell in both if live[cell] != lake[cell])])


def agreement(live: Cells, lake: Cells, expected: Callable[[Sequence[Cell]], Cells]) -> Agreement:
    """`expected` says what live must show, late events and far repeats considered, for cells that differ."""
    cells = live.keys() | lake.keys()
    different = differing(live, lake)
    due = expected(different) if different else {}
    said = [_difference(cell, live, lake, due) for cell in different]
    explained = sum(one.explained for one in said)
    said.sort(key=lambda one: one.explained)
    return Agreement(len(cells), len(cells) - len(different), 0, explained, len(different) - explained, said[:FIRST])


def _difference(cell: Cell, live: Cells, lake: Cells, due: Cells) -> Difference:
    explained = (cell in live, live.get(cell)) == (cell in due, due.get(cell))
    return Difference(
        cell.metric, cell.by, duration_text(cell.size_ms), instant(cell.start_ms), cell.labels, live.get(cell),
        lake.get(cell), explained,
    )  # fmt: skip
