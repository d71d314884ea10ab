"""Brings the planned faults about, one after the other or deliberately at once, and writes down what happened."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from devstack.chaos.fault import NotInForce, Stage
from devstack.chaos.recovery import Positions, Struck
from devstack.chaos.report import Hit
from devstack.chaos.schedule import Planned
from devstack.chaos.watch import Watch
from devstack.errors import StackError

_LOOK_S = 0.1
_GROWTH_S = 2.0
"""The log must have grown within this long for work to be in flight."""
_IDLE_S = 60.0
"""How long to wait for work in flight, or for a victim that is not there."""
_OF_ALL_INSTANCES = {"rebalance", "retention"}
"""Their victim is a worker, whichever of its instances."""
_TAKES_S = 600.0
"""Bound of bringing a fault about, and of healing it: what hangs must not keep all others from happening."""


@dataclass(slots=True)
class Happened:
    """*Units*: seconds of the monotonic clock."""

    planned: Planned
    in_flight: dict[str, Any]
    injected_s: float
    healed_s: float | None = None
    ends: Positions | None = None
    """Of the raw log, asked when its cause was gone; None until the broker has answered."""


@dataclass(slots=True)
class Director:
    """*Guarantees*: every fault that was begun is healed when `run` ends, however it ends."""

    stage: Stage
    watch: Watch
    patience_s: float
    """How long a fault waits for the recovery from the one before."""
    begin_s: float = field(default_factory=time.monotonic)
    happened: list[Happened] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """What did not go as planned, in words, as it came: a fault that did not happen, whose cause could not be taken
    away, or that struck while the platform had not come back (seconds from the last of them would hide the wait)."""

    tell: Callable[[str], object] = lambda _: None
    """Takes a line for each fault that struck and each failure, as it came."""

    @property
    def in_force(self) -> list[Happened]:
        return [h for h in self.happened if h.healed_s is None]

    @property
    def counts(self) -> dict[str, int]:
        """Of those that had an effect."""
        return dict(sorted(Counter(h.planned.kind for h in self.happened if _effective(h)).items()))

    @property
    def idle(self) -> list[str]:
        """Those that had none, in words."""
        idle = (h.planned for h in self.happened if not _effective(h))
        return [f"{_name(planned)} had no effect" for planned in idle]

    def struck(self) -> list[Struck]:
        """Those that are over."""
        return [
            Struck(h.planned.number, h.injected_s, h.healed_s, h.ends)
            for h in self.happened
            if h.healed_s is not None and h.ends is not None
        ]

    def hits(self, stages: Mapping[int, dict[str, float | None]], final: Collection[str] = ()) -> list[Hit]:
        """For the report. From a final kind nothing recovers: it has no seconds."""
        return [
            self._hit(h, {} if h.planned.kind in final else stages.get(h.planned.number, {})) for h in self.happened
        ]

    @property
    def problems(self) -> list[str]:
        """All that did not go as planned, in words."""
        return [*self.failed, *self.idle]

    async def run(self, schedule: Sequence[Planned]) -> None:
        """Returns when the last is healed. *Raises* what a fault fails with other than `NotInForce`."""
        async with asyncio.TaskGroup() as healing:
            for planned in schedule:
                await self._turn(planned)
                await self._strike(planned, healing)

    async def recovered(self) -> bool:
        """Wait, as long as patience lasts, until every stage has come back from the last fault."""
        return await _wait(self._recovered, self.patience_s)

    async def _turn(self, planned: Planned) -> None:
        """Wait for its moment: beside the fault before it, or after the recovery from it."""
        if planned.after_s is not None and self.happened:
            await asyncio.sleep(self.happened[-1].injected_s + planned.after_s - time.monotonic())
        else:
            await asyncio.sleep(self.begin_s + planned.at_s - time.monotonic())
            await _wait(lambda: not self.in_force, None)
            if not await self.recovered():
                standing = ", ".join(self._standing()) or "the broker"
                self._fail(f"when {_name(planned)} was due, not back after {self.patience_s:g} s: {standing}")
        await _wait(lambda: not any(_meet(h.planned, planned) for h in self.in_force), None)

    def _recovered(self) -> bool:
        return len(self.struck()) == len(self.happened) and not self._standing()

    def _standing(self) -> list[str]:
        """The stages that have not moved on since the last heal."""
        last = max(self.struck(), key=lambda s: s.healed_s, default=None)
        return self.watch.standing(last.ends, last.healed_s) if last else []

    async def _strike(self, planned: Planned, healing: asyncio.TaskGroup) -> None:
        deadline_s = time.monotonic() + _IDLE_S
        why = "nothing was in flight"
        while time.monotonic() < deadline_s:
            if evidence := self._in_flight():
                try:
                    async with asyncio.timeout(_TAKES_S):
                        await planned.fault.inject(self.stage)
                except (NotInForce, TimeoutError) as error:
                    why = str(error) or f"it was not in force after {_TAKES_S:.0f} s"
                    await planned.fault.heal(self.stage)
                else:
                    happened = Happened(planned, evidence, time.monotonic())
                    self.happened.append(happened)
                    self.tell(f"{happened.injected_s - self.begin_s:6.0f} s: {_name(planned)}")
                    healing.create_task(self._heal(happened))
                    return
            await asyncio.sleep(_LOOK_S)
        self._fail(f"{_name(planned)} did not happen: {why}")

    def _fail(self, told: str) -> None:
        self.failed.append(told)
        self.tell(f"{time.monotonic() - self.begin_s:6.0f} s: {told}")

    def _in_flight(self) -> dict[str, Any]:
        """What shows work in hand: the log grows, and somebody has yet to follow. Empty where that is not so."""
        grown, lag = self.watch.grown(_GROWTH_S), self.watch.lag()
        if not grown or not any(lag.values()):
            return {}
        stages = {name: dict(positions) for name, positions in self.watch.positions().items()}
        return {"log_end": dict(self.watch.ends), "grown_by": grown, "behind": lag, "positions": stages}

    async def _heal(self, happened: Happened) -> None:
        planned = happened.planned
        try:
            await asyncio.sleep(planned.duration_s)
        finally:
            try:
                async with asyncio.timeout(_TAKES_S):
                    await asyncio.shield(planned.fault.heal(self.stage))
            except (
                StackError,
                TimeoutError,
            ) as error:  # the others must be healed all the same, and the run goes on to be told of
                why = str(error) or f"not within {_TAKES_S:.0f} s"
                self._fail(f"{_name(planned)} could not be healed: {why}")
            happened.healed_s = healed_s = time.monotonic()
        await _wait(lambda: self.watch.end_since(healed_s) is not None, _IDLE_S)
        happened.ends = dict(self.watch.end_since(healed_s) or self.watch.ends)

    def _hit(self, h: Happened, stages: dict[str, float | None]) -> Hit:
        return Hit(
            number=h.planned.number,
            kind=h.planned.kind,
            victim=h.planned.fault.victim,
            at_s=round(h.injected_s - self.begin_s, 1),
            in_force_s=round((h.healed_s or time.monotonic()) - h.injected_s, 1),
            overlaps=h.planned.after_s is not None,
            stages=stages,
            in_flight=h.in_flight,
            evidence=h.planned.fault.evidence,
        )


def _name(planned: Planned) -> str:
    return f"fault {planned.number} ({planned.kind} of {planned.fault.victim})"


def _meet(one: Planned, other: Planned) -> bool:
    """They would hit the same program: so neither would tell what it did."""
    a, b = one.fault.victim, other.fault.victim
    if {one.kind, other.kind} & _OF_ALL_INSTANCES:
        return a.startswith(b) or b.startswith(a)
    return a == b


def _effective(happened: Happened) -> bool:
    return happened.planned.fault.evidence.get("effects") != 0


async def _wait(condition: Callable[[], bool], timeout_s: float | None) -> bool:
    deadline_s = time.monotonic() + timeout_s if timeout_s is not None else None
    while not condition():
        if deadline_s is not None and time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(_LOOK_S)
    return True
