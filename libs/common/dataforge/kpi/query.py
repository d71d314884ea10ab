"""KPI rows as users see them: partitions merged, labels decoded, windows given a status. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from dataforge.contracts.model import Rolling
from dataforge.kpi.plan import View
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
    """How many events changed the row after its window had ended."""


def window_rows(
    view: View, size_ms: int, reads: Sequence[PartitionRead], lateness_ms: int, wanted: LabelFilter | None = None
) -> list[KpiRow]:
    """Rows of a tumbling window size, ordered by start and labels."""
    starts = sorted({start for read in reads for start in read.windows})
    rows: list[KpiRow] = []
    for start in starts:
        status = window_status(start + size_ms, lateness_ms, reads)
        merged = _merged(view, (read.windows.get(start, {}) for read in reads), wanted)
        rows += _rows(start, start + size_ms, merged, status)
    return rows


def rolling_rows(
    view: View,
    rolling: Rolling,
    reads: Sequence[PartitionRead],
    at_ms: int,
    lateness_ms: int,
    wanted: LabelFilter | None = None,
) -> list[KpiRow]:
    """Rows of the rolling window [at - size, at), merged from panes of `every`. `at` is a multiple of it."""
    start = at_ms - rolling.size_ms
    status = window_status(at_ms, lateness_ms, reads)
    panes = (labels for read in reads for pane, labels in read.windows.items() if start <= pane < at_ms)
    return _rows(start, at_ms, _merged(view, panes, wanted), status)


def _merged(
    view: View, parts: Iterable[Mapping[str, list[Any]]], wanted: LabelFilter | None
) -> dict[tuple[str, ...], tuple[Any, int]]:
    """Labels -> (value, revision)."""
    found: defaultdict[str, list[list[Any]]] = defaultdict(list)
    for part in parts:
        for label, stored in part.items():
            found[label].append(stored)
    merged: dict[tuple[str, ...], tuple[Any, int]] = {}
    merge = merging(view)
    for label, stored in found.items():
        labels = _labels.decode(label)
        if wanted is None or wanted(labels):
            merged[labels] = merge(stored)
    return merged


def _rows(start: int, end: int, merged: dict[tuple[str, ...], tuple[Any, int]], status: Status) -> list[KpiRow]:
    return [
        KpiRow(start, end, labels, value, status, n)
        for labels, (value, n) in sorted(merged.items(), key=lambda item: item[0])
    ]
