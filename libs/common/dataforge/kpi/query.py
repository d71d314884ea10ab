"""KPI rows as users see them: partitions merged, labels decoded, windows given a status. Pure."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from dataforge.contracts.model import Rolling
from dataforge.kpi.overlay import UNCORRECTED, Overlay, overlaid
from dataforge.kpi.plan import Row, View
from dataforge.kpi.status import Status, window_status
from dataforge.kpi.value import merging
from dataforge.state.model import PartitionRead

LabelFilter = Callable[[tuple[str, ...]], bool]

_labels = msgspec.json.Decoder(tuple[str, ...])


class KpiRow(NamedTuple):
    start_ms: int
    end_ms: int
    labels: tuple[str, ...]
    """Values of the view's `by`, in its order; () for a total."""
    value: Any
    status: Status
    revision: int
    """How many events changed the row after its window had ended; of a corrected one, the correction's."""
    corrected: bool = False
    """The lake replaced it, or a pane of it."""


def window_rows(
    view: View,
    size_ms: int,
    reads: Sequence[PartitionRead],
    lateness_ms: int,
    wanted: LabelFilter | None = None,
    overlay: Overlay = UNCORRECTED,
) -> list[KpiRow]:
    """Rows of a tumbling window size, ordered by start and labels: the overlay's, else the partitions' merged."""
    starts = sorted({start for read in reads for start in read.windows} | overlay.keys())
    rows: list[KpiRow] = []
    for start in starts:
        status = window_status(start + size_ms, lateness_ms, reads)
        panes = [(start, read.windows.get(start, {})) for read in reads]
        over = {start: overlay[start]} if start in overlay else UNCORRECTED
        rows += _rows(start, start + size_ms, _merged(view, panes, over, wanted), status)
    return rows


def rolling_rows(
    view: View,
    rolling: Rolling,
    reads: Sequence[PartitionRead],
    at_ms: int,
    lateness_ms: int,
    wanted: LabelFilter | None = None,
    overlay: Overlay = UNCORRECTED,
) -> list[KpiRow]:
    """Rows of the rolling window [at - size, at), merged from panes of `every`. `at` is a multiple of it."""
    start = at_ms - rolling.size_ms
    status = window_status(at_ms, lateness_ms, reads)
    panes = [(pane, labels) for read in reads for pane, labels in read.windows.items() if start <= pane < at_ms]
    over = {pane: labels for pane, labels in overlay.items() if start <= pane < at_ms}
    return _rows(start, at_ms, _merged(view, panes, over, wanted), status)


class _Merged(NamedTuple):
    value: Any
    revision: int
    corrected: bool


def _merged(
    view: View, panes: Sequence[tuple[int, Mapping[str, Row]]], overlay: Overlay, wanted: LabelFilter | None
) -> dict[tuple[str, ...], _Merged]:
    """Labels -> row, of the panes (start, label -> stored row) of all partitions."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for _, labels in panes:
        for label, stored in labels.items():
            found[label].append(stored)
    corrected = _correct(view, found, panes, overlay)
    merged: dict[tuple[str, ...], _Merged] = {}
    merge = merging(view)
    for label, stored in found.items():
        labels = _labels.decode(label)
        if wanted is None or wanted(labels):
            merged[labels] = _Merged(*merge(stored), label in corrected)
    return merged


def _correct(
    view: View, found: dict[str, list[Row]], panes: Sequence[tuple[int, Mapping[str, Row]]], overlay: Overlay
) -> set[str]:
    """Put corrected rows in the place of live ones. Returns the labels that have any."""
    corrected: set[str] = set()
    for label in {label for labels in overlay.values() for label in labels}:
        live = [(start, labels[label]) for start, labels in panes if label in labels]
        said = {start: labels[label] for start, labels in overlay.items() if label in labels}
        rows, has_any = overlaid(view, live, said)
        if has_any:
            corrected.add(label)
            found[label] = rows
            if not rows:
                del found[label]
    return corrected


def _rows(start: int, end: int, merged: dict[tuple[str, ...], _Merged], status: Status) -> list[KpiRow]:
    return [
        KpiRow(start, end, labels, row.value, status, row.revision, row.corrected)
        for labels, row in sorted(merged.items(), key=lambda item: item[0])
    ]
