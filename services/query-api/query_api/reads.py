"""Reads of all partitions of an event, kept a little while for the pages that follow."""

import asyncio
import time
from collections import OrderedDict

from dataforge.kpi.catalogue import Selection
from dataforge.state.model import PartitionRead
from dataforge.state.store import StateReader

Reads = list[PartitionRead]


class Reader:
    """*Guarantees*: pages of one walk show one instant, while they are asked for within `keep_s` of each other;
    after that the rest is read anew.
    """

    def __init__(self, state: StateReader, *, keep_s: float = 30, walks: int = 8) -> None:
        self._state = state
        self._keep_s = keep_s
        self._walks = walks
        self._kept: OrderedDict[str, tuple[float, Reads]] = OrderedDict()

    async def heads(self, selection: Selection) -> Reads:
        partitions = range(selection.domain.partitions)
        return list(await asyncio.gather(*(self._state.head(selection.name, p) for p in partitions)))

    async def windows(self, selection: Selection, start_ms: int, end_ms: int) -> Reads:
        """Rows of `step_ms` grain with start in [start, end); each partition's with its own positions."""
        table, step_ms = selection.view.table.id, selection.step_ms
        return list(
            await asyncio.gather(
                *(
                    self._state.read(selection.name, p, table, step_ms, start_ms, end_ms)
                    for p in range(selection.domain.partitions)
                )
            )
        )

    def keep(self, cursor: str, reads: Reads) -> None:
        """Remember what the page after this cursor is made of."""
        self._kept[cursor] = (time.monotonic() + self._keep_s, reads)
        self._kept.move_to_end(cursor)
        while len(self._kept) > self._walks:
            self._kept.popitem(last=False)

    def kept(self, cursor: str) -> Reads | None:
        until_s, reads = self._kept.get(cursor, (0.0, None))
        return reads if time.monotonic() < until_s else None
