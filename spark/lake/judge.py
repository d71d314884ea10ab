"""Gold beside the live numbers: which windows are equal, which differ as they must, which nobody can explain. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from dataforge.kpi.catalogue import duration_text
from dataforge.kpi.instants import instant
from dataforge.kpi.plan import Row, View
from dataforge.kpi.query import window_rows
from dataforge.state.model import PartitionRead

from lake.alike import alike, of_sketches, shown

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
    """Late events, far repeats and label caps make exactly this difference."""


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
        self.first = sorted([*self.first, *other.first], key=lambda one: one.explained)[:FIRST]


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
                    found[cell] = _sketched(view, cell, of_window) if _is_sketched(view) else row.value
    return found


def _is_sketched(view: View) -> bool:
    return view.metric.measure.kind.sketched


def _sketched(view: View, cell: Cell, reads: Sequence[PartitionRead]) -> Any:
    label = msgspec.json.encode(cell.labels).decode()
    stored = [read.windows[cell.start_ms][label] for read in reads if label in read.windows.get(cell.start_ms, {})]
    return of_sketches(view.metric.measure, [row[view.columns[0]] for row in stored])


def lake_cells(views: Mapping[tuple[str, tuple[str, ...]], View], rows: Iterable[Any]) -> Cells:
    """From rows of gold: metric, by, size_ms, start_ms, labels, value, top, bottom, sketch."""
    found: Cells = {}
    for row in rows:
        cell = Cell(row["metric"], tuple(row["by"]), row["size_ms"], row["start_ms"], tuple(row["labels"]))
        view = views.get((cell.metric, cell.by))
        if view is not None and _is_sketched(view):
            found[cell] = of_sketches(view.metric.measure, [bytes(row["sketch"])])
        elif view is not None:
            found[cell] = view.value(_held(view, row))
    return found


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
    return sorted([*(live.keys() ^ lake.keys()), *(cell for cell in both if not alike(live[cell], lake[cell]))])


def agreement(live: Cells, lake: Cells, expected: Callable[[Sequence[Cell]], Cells]) -> Agreement:
    """`expected` says what live must show of cells that differ: late events, far repeats and label caps considered."""
    cells = live.keys() | lake.keys()
    different = differing(live, lake)
    due = expected(different) if different else {}
    said = [_difference(cell, live, lake, due) for cell in different]
    explained = sum(one.explained for one in said)
    said.sort(key=lambda one: one.explained)
    return Agreement(len(cells), len(cells) - len(different), 0, explained, len(different) - explained, said[:FIRST])


def _difference(cell: Cell, live: Cells, lake: Cells, due: Cells) -> Difference:
    explained = (cell in live) == (cell in due) and alike(live.get(cell), due.get(cell))
    return Difference(
        cell.metric, cell.by, duration_text(cell.size_ms), instant(cell.start_ms), cell.labels,
        shown(live.get(cell)), shown(lake.get(cell)), explained,
    )  # fmt: skip
