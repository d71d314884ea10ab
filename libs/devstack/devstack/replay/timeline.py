"""When each purchase happens in the replay. Pure."""

from dataclasses import dataclass

import numpy as np

from devstack.replay.purchases import Column

NOMINAL_RATE = 1_000
LONGEST_SPAN_S = 600


@dataclass(frozen=True, slots=True)
class Timeline:
    """*Units*: `planned_ms` counts from the replay's origin, never decreasing."""

    planned_ms: Column
    paced: bool
    """True: an event is sent at its planned instant, so event time is now. False: everything is sent at once."""

    def origin_ms(self, now_ms: int) -> int:
        """Instant of `planned_ms` 0.

        *Guarantees*: no event is sent before its event time, so the append time never holds a watermark
        back and lateness follows from event times alone.
        """
        return now_ms if self.paced else now_ms - int(self.planned_ms[-1])


def at_rate(count: int, events_per_s: float) -> Timeline:
    return Timeline((np.arange(count) * (1000 / events_per_s)).astype(np.int64), paced=True)


def at_speed(bought_ms: Column, speed: float) -> Timeline:
    """Source time, compressed: a day takes 86,400 / `speed` seconds."""
    return Timeline(((bought_ms - bought_ms[0]) / speed).astype(np.int64), paced=True)


def at_once(count: int) -> Timeline:
    """As fast as it goes. Event times end now and advance at a nominal rate, over ten minutes at most."""
    rate = max(NOMINAL_RATE, count / LONGEST_SPAN_S)
    return Timeline((np.arange(count) * (1000 / rate)).astype(np.int64), paced=False)
