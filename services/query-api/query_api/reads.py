"""Reads of all partitions of an event and of what the lake corrected, kept a little while for the pages that follow."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from dataforge.corrections import OVERLAY, overlay_table
from dataforge.kpi.catalogue import Selection
from dataforge.state.model import PartitionRead
from dataforge.state.store import StateReader, TooMany

MOST = 5_000
"""Stored windows that one call looks through: some milliseconds, in which nobody commits."""


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
            *(self._whole(selection, p, start_ms, end_ms) for p in range(selection.domain.partitions)),
        )
        return Reads(partitions, overlay)

    async def _whole(self, selection: Selection, partition: int, start_ms: int, end_ms: int) -> PartitionRead:
        """However much it is. Windows that are sealed never change: they are read before the others, in as many calls
        as it takes, and it is as if all had been read at once.
        """
        step_ms, event = selection.step_ms, selection.event
        read = partial(self._state.read, selection.name, partition, selection.view.table.id, step_ms)
        with suppress(TooMany):
            return await read(start_ms, end_ms, MOST)
        watermark = (await self._state.head(selection.name, partition)).watermark
        # By the watermark one is sealed from `end + lateness` on, and kept until `end + ttl`.
        sealed_ms = (watermark - event.lateness_ms) // step_ms * step_ms
        kept_ms = (watermark - event.ttl_ms) // step_ms * step_ms - step_ms
        sealed: dict[int, Mapping[str, list[Any]]] = {}
        spans = [(max(start_ms, kept_ms), min(end_ms, sealed_ms))]
        while spans:
            from_ms, until_ms = spans.pop()
            if from_ms >= until_ms:
                continue
            middle_ms = (from_ms + until_ms) // 2 // step_ms * step_ms
            try:
                sealed |= (await read(from_ms, until_ms, MOST if middle_ms > from_ms else None)).windows
            except TooMany:
                spans += [(middle_ms, until_ms), (from_ms, middle_ms)]
        rest = await read(max(start_ms, min(end_ms, sealed_ms)), end_ms)
        return rest._replace(windows={**sealed, **rest.windows})

    def keep(self, cursor: str, reads: Reads) -> None:
        """Remember what the page after this cursor is made of."""
        self._kept[cursor] = (time.monotonic() + self._keep_s, reads)
        self._kept.move_to_end(cursor)
        while len(self._kept) > self._walks:
            self._kept.popitem(last=False)

    def kept(self, cursor: str) -> Reads | None:
        until_s, reads = self._kept.get(cursor, (0.0, None))
        return reads if time.monotonic() < until_s else None
