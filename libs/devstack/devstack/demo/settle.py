"""Waiting until everything is through: in the landing chain and in the KPIs."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from devstack.errors import StackError
from devstack.oracle.api import Api, NoAnswer
from devstack.oracle.landed import Landing
from devstack.oracle.log import end_offsets

_POLL_S = 0.2


async def through(
    kafka: str,
    topic: str,
    landing: Landing,
    api: Api,
    *,
    stalled_s: float,
    on_progress: Callable[[int, int], Any] = lambda *_: None,
) -> None:
    """Return when every raw record of now is landed and in the KPIs.

    *Raises* `StackError` where nothing moves for `stalled_s`, saying what is behind.
    """
    ends = await end_offsets(kafka, topic)
    least, moved_s = sum(ends.values()) * 2 + 1, time.monotonic()
    while True:
        try:
            counted = await asyncio.to_thread(api.raw_next)
        except NoAnswer:
            counted = {}  # a service that restarts is behind, not wrong
        landed = await landing.next() if _behind(counted, ends) == 0 else {}
        behind = _behind(counted, ends), _behind(landed, ends)
        on_progress(sum(ends.values()) - behind[0], sum(ends.values()))
        if behind == (0, 0):
            return
        if sum(behind) < least:
            least, moved_s = sum(behind), time.monotonic()
        elif time.monotonic() - moved_s > stalled_s:
            raise StackError(
                f"nothing moves any more: {behind[0]} records are not in the KPIs, {behind[1]} not landed; "
                "`dataforge status` and `dataforge logs` say why"
            )
        await asyncio.sleep(_POLL_S)


def _behind(positions: Mapping[int, int], ends: Mapping[int, int]) -> int:
    return sum(max(0, end - positions.get(partition, 0)) for partition, end in ends.items())
