"""The circuit breaker of a raw topic: a bad deploy must not drain it into quarantine (DESIGN R8).

Each partition measures its own share of rejections. Where one passes a limit, the batch is not written; the topic
is paused in `control.v1`, an alert is raised, and every partition of it is held until `dataforge resume`.
"""

import logging
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Protocol

from dataforge.alerts import Alert
from dataforge.control import Paused, alert_of
from dataforge.errors import Held
from dataforge.runtime import metrics
from dataforge.stream.control import Control
from dataforge.stream.judged import Verdict
from dataforge.stream.records import Record, TopicPartition

from quality_worker.judge import Judgement
from quality_worker.limits import Limits, Measured, Trip, measure

logger = logging.getLogger(__name__)

RETRY_S = 1.0
NowMs = Callable[[], int]


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000


class Alerts(Protocol):
    """What `dataforge.alerts.AlertSink` is."""

    async def send(self, alert: Alert) -> None: ...


class Breakers:
    """Of one process: what its partitions share."""

    def __init__(self, limits: Limits, control: Control, alerts: Alerts, now_ms: NowMs = _clock_ms) -> None:
        self.limits, self.control, self.now_ms = limits, control, now_ms
        self._alerts = alerts
        self._alerted: set[tuple[str, int]] = set()

    def remark(self) -> str | None:
        """For readiness: a paused topic is no reason to restart this process, and must be seen."""
        return "; ".join(f"{pause.topic}: {pause.message}" for pause in self.control.paused) or None

    async def alert(self, pause: Paused) -> None:
        """Once for each pause and process. *Raises* `Transient`, so whoever is held asks again until it is written."""
        if (pause.topic, pause.at_ms) not in self._alerted:
            await self._alerts.send(alert_of(pause))
            self._alerted.add((pause.topic, pause.at_ms))

    def of(self, tp: TopicPartition) -> "Breaker":
        metrics.PAUSED.labels(tp.topic).set_function(lambda: float(self.control.pause_of(tp.topic) is not None))
        return Breaker(tp, self)


class Breaker:
    """Of one partition. `hold` and `admit` change nothing where they raise: the batch may be taken again."""

    def __init__(self, tp: TopicPartition, shared: Breakers) -> None:
        self._tp, self._shared = tp, shared
        self._measured = Measured()
        self._lift = shared.control.lift_of(tp.topic)

    @property
    def pause(self) -> Paused | None:
        return self._shared.control.pause_of(self._tp.topic)

    async def hold(self) -> None:
        """*Raises* `Held` while the topic is paused, `Transient` while the alert on it is not written."""
        if (pause := self.pause) is not None:
            await self._shared.alert(pause)
            raise Held(f"{self._tp.topic} is paused: {pause.message}", RETRY_S)

    async def admit(self, records: Sequence[Record], judgements: Sequence[Judgement]) -> None:
        """Whether these may be written. *Raises* `Held` where they pass a limit; the topic is then paused."""
        if (lift := self._shared.control.lift_of(self._tp.topic)) != self._lift:
            self._lift, self._measured = lift, Measured()
        # What was there at the resume is let through, and not measured.
        first = bisect_left(records, lift.through.get(self._tp.partition, 0), key=attrgetter("offset"))
        rejected = [n - first for n in range(first, len(records)) if judgements[n].verdict is not Verdict.VALID]
        measured = measure(self._measured, self._shared.limits, len(records) - first, rejected)
        if isinstance(measured, Trip):
            await self._trip(records, judgements, measured)
        else:
            self._measured = measured

    async def _trip(self, records: Sequence[Record], judgements: Sequence[Judgement], trip: Trip) -> None:
        control = self._shared.control
        reasons = Counter(j.reason for j in judgements if j.verdict is not Verdict.VALID)
        most, _ = reasons.most_common(1)[0]
        pause = Paused(
            topic=self._tp.topic,
            partition=self._tp.partition,
            offset=records[0].offset,
            seen=control.next,
            at_ms=self._shared.now_ms(),
            message=_words(trip) + f", most of them for {most} (partition {self._tp.partition})",
            details={"rejected": trip.rejected, "of": trip.of, "reasons": dict(reasons)},
        )
        logger.error("%s is paused: %s", pause.topic, pause.message)
        await control.append(pause)
        await self.hold()
        raise Held(f"{self._tp.topic} was resumed while it was being paused: judging it anew", 0)


def _words(trip: Trip) -> str:
    if trip.rejected == trip.of:
        return f"{trip.of:,} records in a row were rejected"
    return f"{trip.rejected:,} of the last {trip.of:,} records were rejected"
