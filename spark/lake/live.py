"""The live rows, as the API reads them: every partition's state, merged by the platform's own code."""

import asyncio
from collections.abc import Sequence

from dataforge.contracts.model import EventType
from dataforge.kpi.plan import View
from dataforge.state.model import PartitionRead
from dataforge.state.redis import RedisState

_FOREVER_MS = 2**53

Reads = dict[tuple[str, int], list[PartitionRead]]
"""(table id, window size in ms) -> each partition's rows, with the positions of that moment."""


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
) -> Reads:
    """The windows of these views that are kept and begin in [from, until).

    *Raises* `Transient` where the store does not answer.
    """

    async def look() -> Reads:
        state = RedisState(redis_url)
        name, asked = event.contract.name, {(v.table.id, size) for v in views for size in v.table.windows_ms}
        try:
            return {
                (table, size): list(
                    await asyncio.gather(
                        *(state.read(name, p, table, size, from_ms, until_ms) for p in range(partitions))
                    )
                )
                for table, size in sorted(asked)
            }
        finally:
            await state.close()

    return asyncio.run(look())
