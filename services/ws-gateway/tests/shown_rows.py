"""What must be on a screen, worked out from the partitions' state as the REST API does, without a channel."""

from collections.abc import Sequence
from typing import Any

from dataforge.kpi.catalogue import Selection
from dataforge.kpi.instants import instant
from dataforge.kpi.overlay import UNCORRECTED, Overlay
from dataforge.kpi.query import KpiRow, rolling_rows, window_rows
from dataforge.state.model import PartitionRead

from devstack.oracle.live import Cell, cell


def shown_rows(
    selection: Selection, limit: int, reads: Sequence[PartitionRead], overlay: Overlay = UNCORRECTED
) -> dict[Cell, dict[str, Any]]:
    """The newest `limit` windows, back from the newest watermark. Nothing may have expired."""
    lateness_ms, step = selection.event.lateness_ms, selection.step_ms
    newest = max(r.watermark for r in reads)
    top = newest // step * step + step
    floor = top - (limit - 1) * step
    found: list[KpiRow] = []
    if selection.rolling is None:
        found = window_rows(selection.view, selection.size_ms, reads, lateness_ms, selection.wanted, overlay)
    elif newest:
        for end in range(floor, top + 1, step):
            found += rolling_rows(selection.view, selection.rolling, reads, end, lateness_ms, selection.wanted, overlay)
    rows = [
        {
            "start": instant(r.start_ms),
            "end": instant(r.end_ms),
            "labels": dict(zip(selection.view.by, r.labels, strict=True)),
            "value": r.value,
            "status": r.status,
            "revision": r.revision,
            **({"corrected": True} if r.corrected else {}),
        }
        for r in found
        if newest and r.end_ms >= floor
    ]
    return {cell(row): row for row in rows}
