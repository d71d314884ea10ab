"""The live rows and the lake's corrections of them, as the API reads them: merged by the platform's own code."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import NamedTuple

from dataforge.contracts.model import EventType
from dataforge.corrections import OVERLAY, overlay_table
from dataforge.kpi.overlay import Overlay
from dataforge.kpi.plan import View
from dataforge.state.model import PartitionRead
from dataforge.state.redis import RedisState

_FOREVER_MS = 2**53

Reads = dict[tuple[str, int], list[PartitionRead]]
"""(table id, window size in ms) -> each partition's rows, with the positions of that moment."""


class Live(NamedTuple):
    reads: Reads
    overlays: dict[tuple[str, int], Overlay]
    """(table id, window size in ms) -> corrections."""


def live_watermark(redis_url: str, event: EventType, partitions: int) -> int:
    """The newest partition's, in ms. *Raises* `Transient` where the store does not answer."""

    async def look() -> int:
        state = RedisState(redis_url)
        try:
            return max(await state.watermarks(event.contract.name, range(partitions)))
        finally:
            await state.close()

    return asyncio.run(look())


def live_rows(
    redis_url: str,
    event: EventType,
    partitions: int,
    views: Sequence[View],
    from_ms: int = 0,
    until_ms: int = _FOREVER_MS,
) -> Live:
    """The windows of these views that are kept and begin in [from, until), and what is corrected of them.

    *Raises* `Transient` where the store does not answer.
    """

    async def look() -> Live:
        state, name = RedisState(redis_url), event.contract.name
        found = Live({}, {})
        try:
            for table, size in sorted({(v.table.id, size) for v in views for size in v.table.windows_ms}):
                wanted: list[Awaitable[PartitionRead]] = [
                    state.read(*OVERLAY, overlay_table(name, table), size, from_ms, until_ms),
                    *(state.read(name, p, table, size, from_ms, until_ms) for p in range(partitions)),
                ]
                overlay, *reads = await asyncio.gather(*wanted)
                found.reads[table, size], found.overlays[table, size] = reads, overlay.windows
        finally:
            await state.close()
        return found

    return asyncio.run(look())
