"""How often a consumer fetches: as fast as it can while there is much, and not for each record while there is not."""

import asyncio
from collections.abc import Callable
from typing import Any

FEW = 200
REST_S = 0.03
"""While a poll brings fewer than `FEW` records, fetches begin this far apart, unless the app says otherwise. The log
would hand records out one by one as they come, each with a fetch, a take and a produce of its own: a machine that only
does a thousand events a second.
"""


class Pacing:
    """Of one consumer's fetches."""

    def __init__(self, rest_s: float) -> None:
        self._rest_s = rest_s
        self._busy = False

    def polled(self, records: int) -> None:
        """What the last poll brought."""
        self._busy = records >= FEW

    def paced(self, next_actions: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The next fetches of aiokafka's fetcher, or that there are none yet and how long to wait for them.

        *Source*: aiokafka 0.14.0, `Fetcher._get_actions_per_node`.
        """
        now_s, fetched_s = asyncio.get_running_loop().time, 0.0

        def paced(assignment: Any) -> Any:
            nonlocal fetched_s
            if not self._busy and (left_s := fetched_s + self._rest_s - now_s()) > 0:
                return [], {}, left_s, False, []
            actions = next_actions(assignment)
            if actions[0]:
                fetched_s = now_s()
            return actions

        return paced
