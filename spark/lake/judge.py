"""Gold beside the live numbers: which windows are equal, which differ as they must, which nobody can explain. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from dataforge.kpi.catalogue import duration_text
from dataforge.kpi.columns import ALGEBRA
from dataforge.kpi.instants import instant
from dataforge.kpi.overlay import UNCORRECTED, Overlay, overlaid
from dataforge.kpi.plan import Row, View
from dataforge.kpi.query import window_rows
from dataforge.state.model import PartitionRead

from lake.alike import alike, of_sketches
from lake.alike import shown as as_shown

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
    """As it is shown, or before it was corrected where that made it the lake's. None where there is no such row."""
    lake: Any
    explained: bool
    """Late events, far repeats and label caps make exactly this difference."""


class Agreement(msgspec.Struct):
    """Of one event, or of all."""

    compared: int = 0
    equal: int = 0
    corrected: int = 0
    """Explained, and readers are shown the lake's value."""
    explained: int = 0
    """Explained, and not corrected, or no longer."""
    unexplained: int = 0
    first: list[Difference] = []

    def add(self, other: "Agreement") -> None:
        self.compared += other.compared
        self.equal += other.equal
        self.corrected += other.corrected
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
        return ahead and self.sealed(end_ms, [read.partition for read in reads])

    def sealed(self, end_ms: int, partitions: Iterable[int]) -> bool:
        """In every partition, where the lake stands."""
        return all(end_ms + self.lateness_ms <= self.watermarks.get(partition, 0) for partition in partitions)


def live_cells(
    views: Iterable[View],
    reads: Mapping[tuple[str, int], Sequence[PartitionRead]],
    kept: Kept,
    overlays: Mapping[tuple[str, int], Overlay] = {},
) -> Cells:
    """The partitions merged; with `overlays`, as readers are shown them."""
    found: Cells = {}
    for view in views:
        for size_ms in view.table.windows_ms:
            of_window, overlay = reads[view.table.id, size_ms], overlays.get((view.table.id, size_ms), UNCORRECTED)
            for row in window_rows(view, size_ms, of_window, kept.lateness_ms, None, overlay):
                if kept.holds(row.end_ms, of_window):
                    cell = Cell(view.metric.name, view.by, size_ms, row.start_ms, row.labels)
                    found[cell] = _sketched(view, cell, of_window, overlay) if _is_sketched(view) else row.value
    return found


def _is_sketched(view: View) -> bool:
    return view.metric.measure.kind.sketched


def _sketched(view: View, cell: Cell, reads: Sequence[PartitionRead], overlay: Overlay) -> float:
    start, label = cell.start_ms, label_text(cell.labels)
    live = [(start, read.windows[start][label]) for read in reads if label in read.windows.get(start, {})]
    over = overlay.get(start, {})
    stored, _ = overlaid(view, live, {start: over[label]} if label in over else {})
    return of_sketches(view.metric.measure, [row[view.columns[0]] for row in stored])


def label_text(labels: tuple[str, ...]) -> str:
    """As the state has it."""
    return msgspec.json.encode(labels).decode()


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


def stored(view: View, row: Any) -> dict[int, Any]:
    """What a row of gold says of the view's columns: position -> value as the state stores it."""
    algebras = {at: ALGEBRA[view.table.columns[at - 1].kind] for at in view.columns}
    if _is_sketched(view):
        [(at, algebra)] = algebras.items()
        return {at: algebra.store(algebra.restore(bytes(row["sketch"])))}
    held = _held(view, row)
    return {at: algebra.store(held[at]) for at, algebra in algebras.items()}


def differing(live: Cells, lake: Cells) -> list[Cell]:
    """A row without a value is not the same as no row."""
    both = live.keys() & lake.keys()
    return sorted([*(live.keys() ^ lake.keys()), *(cell for cell in both if not alike(live[cell], lake[cell]))])


@dataclass(frozen=True, slots=True)
class Sides:
    """The same windows, told by each side."""

    live: Cells
    """The partitions merged."""
    lake: Cells
    shown: Cells
    """As `live`, with the corrections over it."""
    due: Cells = field(default_factory=dict)
    """What `live` must be, late events, far repeats and label caps considered, for cells that differ."""

    def explained(self, cell: Cell) -> bool:
        return _same(cell, self.live, self.lake) or _same(cell, self.live, self.due)

    def wrong(self) -> list[Cell]:
        """What readers are shown, and the lake has otherwise."""
        return differing(self.shown, self.lake)


def sides(live: Cells, lake: Cells, expected: Callable[[Sequence[Cell]], Cells], shown: Cells | None = None) -> Sides:
    """`expected` says what live must show for cells that differ. Without `shown`, nothing is corrected."""
    different = differing(live, lake)
    return Sides(live, lake, live if shown is None else shown, expected(different) if different else {})


def agreed(found: Sides) -> Agreement:
    """Each cell is one of equal, corrected, explained and unexplained."""
    live, lake, wrong = found.live, found.lake, set(found.wrong())
    total = Agreement(len(live.keys() | lake.keys() | found.shown.keys()))
    different = {*differing(live, lake), *wrong}
    total.equal = total.compared - len(different)
    total.corrected = sum(cell not in wrong and found.explained(cell) for cell in different)
    said = [_difference(cell, found) for cell in sorted(different) if cell in wrong or not found.explained(cell)]
    total.explained = sum(one.explained for one in said)
    total.unexplained = len(said) - total.explained
    said.sort(key=lambda one: one.explained)
    total.first = said[:FIRST]
    return total


def _same(cell: Cell, one: Cells, other: Cells) -> bool:
    return (cell in one) == (cell in other) and alike(one.get(cell), other.get(cell))


def _difference(cell: Cell, found: Sides) -> Difference:
    live = found.live if _same(cell, found.shown, found.lake) else found.shown
    return Difference(
        cell.metric, cell.by, duration_text(cell.size_ms), instant(cell.start_ms), cell.labels,
        as_shown(live.get(cell)), as_shown(found.lake.get(cell)), found.explained(cell),
    )  # fmt: skip
