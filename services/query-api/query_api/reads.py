"""Reads of all partitions of an event and of what the lake corrected, kept a little while for the pages that follow."""

import asyncio
import time
from collections import OrderedDict
from typing import NamedTuple

from dataforge.corrections import OVERLAY, overlay_table
from dataforge.kpi.catalogue import Selection
from dataforge.state.model import PartitionRead
from dataforge.state.store import StateReader


class Reads(NamedTuple):
    partitions: list[PartitionRead]
    overlay: PartitionRead
    """Its rows are corrections, see `dataforge.kpi.overlay`; its positions are of `corrections.v1`."""

    @property
    def stored(self) -> int:
        """How many rows."""
        return sum(len(labels) for read in (*self.partitions, self.overlay) for labels in read.windows.values())


class Reader:
    """*Guarantees*: pages of one walk show one instant, while they are asked for within `keep_s` of each other;
    after that the rest is read anew.
    """

    def __init__(self, state: StateReader, *, keep_s: float = 30, walks: int = 8) -> None:
        self._state = state
        self._keep_s = keep_s
        self._walks = walks
        self._kept: OrderedDict[str, tuple[float, Reads]] = OrderedDict()

    async def heads(self, selection: Selection) -> list[PartitionRead]:
        partitions = range(selection.domain.partitions)
        return list(await asyncio.gather(*(self._state.head(selection.name, p) for p in partitions)))

    async def windows(self, selection: Selection, start_ms: int, end_ms: int) -> Reads:
        """Rows of `step_ms` grain with start in [start, end); each partition's with its own positions."""
        name, table, step_ms = selection.name, selection.view.table.id, selection.step_ms
        overlay, *partitions = await asyncio.gather(
            self._state.read(*OVERLAY, overlay_table(name, table), step_ms, start_ms, end_ms),
            *(self._state.read(name, p, table, step_ms, start_ms, end_ms) for p in range(selection.domain.partitions)),
        )
        return Reads(partitions, overlay)

    def keep(self, cursor: str, reads: Reads) -> None:
        """Remember what the page after this cursor is made of."""
        self._kept[cursor] = (time.monotonic() + self._keep_s, reads)
        self._kept.move_to_end(cursor)
        while len(self._kept) > self._walks:
            self._kept.popitem(last=False)

    def kept(self, cursor: str) -> Reads | None:
        until_s, reads = self._kept.get(cursor, (0.0, None))
        return reads if time.monotonic() < until_s else None
