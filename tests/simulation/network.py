"""What lies between a process and a server: requests take time, get lost, arrive late, or lose their answer."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from simulation.loop import Process, SimulatedLoop, running

T = TypeVar("T")

TIMEOUT_S = 3.0
"""How long a client waits for an answer."""
LATE_S = 10.0
"""A request that was given up may still arrive within this time."""


@dataclass(slots=True)
class Weather:
    """Shares of the calls that meet each fate."""

    lost: float = 0.0
    late: float = 0.0
    """Arrives after the client may have given up; also after it has died."""
    unanswered: float = 0.0
    slow: float = 0.0
    unsent: float = 0.0
    """Does not even leave the client, and the client knows that."""


CALM = Weather()
CHANGES = {"send", "put", "claim", "commit", "settle"}
"""Calls that change something on a server."""

Ambush = Callable[[Process], None]


class Network:
    """*Guarantees*: an effect takes place at one instant, whole, also where its caller has died meanwhile."""

    def __init__(self, loop: SimulatedLoop, random: Random) -> None:
        self._loop, self._random = loop, random
        self.weather = CALM
        self.faults: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.busy_until_s = 0.0
        """When the last of what is on its way will have arrived."""
        self._ambushes: dict[tuple[str, str], list[Ambush]] = {}
        self._dooms: dict[str, str] = {}
        self.heard: Callable[[str], None] = lambda _: None
        """Told of every call that changes something, and of what went wrong."""

    def ambush(self, when: str, what: str, action: Ambush) -> None:
        """Do this to the caller at the next call of this kind: `before` its effect or `after` it."""
        self._ambushes.setdefault((when, what), []).append(action)

    def doom(self, what: str, fate: str) -> None:
        """This is the fate of the next call of this kind."""
        self._dooms[what] = fate

    def clear(self) -> None:
        self.weather = CALM
        self._ambushes.clear()
        self._dooms.clear()

    async def call(self, what: str, effect: Callable[[], T], failure: Callable[[str], Exception]) -> T:
        """The effect's result. *Raises* what the effect raises, or `failure` where there was no answer."""
        kind = what.partition(" ")[0]
        self.calls[kind] += 1
        caller, random = running(), self._random
        future: asyncio.Future[T] = self._loop.create_future()
        fate = self._dooms.pop(kind, None) or self._fate()
        if fate != "ok":
            self.faults[f"{kind} {fate}"] += 1
        there, back = self._latency_s(), self._latency_s()
        if fate == "late":
            there = random.uniform(0, LATE_S)
        if fate != "lost":
            self._later(there, self._arrive, what, caller, effect, future, fate == "ok", back)
        if fate != "ok":
            self._later(TIMEOUT_S, self._give_up, future, failure, f"{what}: no answer ({fate})")
        return await future

    async def leave(self, what: str, failure: Callable[[str], Exception]) -> None:
        """For clients that tell what was not sent from what may have been done. *Raises* `failure` where it was not."""
        if self._random.random() < self.weather.unsent:
            self.faults[f"{what} unsent"] += 1
            await asyncio.sleep(self._latency_s())
            raise failure(f"{what}: not sent")

    def _fate(self) -> str:
        weather, drawn = self.weather, self._random.random()
        for fate in ("lost", "late", "unanswered"):
            share: float = getattr(weather, fate)
            if drawn < share:
                return fate
            drawn -= share
        return "ok"

    def _latency_s(self) -> float:
        if self._random.random() < self.weather.slow:
            return self._random.uniform(0, TIMEOUT_S / 3)
        return self._random.uniform(0.0002, 0.004)

    def _later(self, delay_s: float, do: Callable[..., None], *args: Any) -> None:
        self.busy_until_s = max(self.busy_until_s, self._loop.time() + delay_s)
        self._loop.environment.call_later(delay_s, do, *args)

    def _arrive(
        self,
        what: str,
        caller: Process,
        effect: Callable[[], T],
        future: "asyncio.Future[T]",
        answered: bool,
        back: float,
    ) -> None:
        self._spring("before", what, caller)
        try:
            result, error = effect(), None
        except Exception as raised:  # noqa: BLE001 - the caller's, as over a wire
            result, error = None, raised
        if what.partition(" ")[0] in CHANGES:
            self.heard(
                f"{caller} {what}{' ' + type(error).__name__ if error else ''}{'' if answered else ' (unheard)'}"
            )
        self._spring("after", what, caller)
        if answered:
            self._later(back, self._answer, future, result, error)

    def _spring(self, when: str, what: str, caller: Process) -> None:
        for action in self._ambushes.pop((when, what.partition(" ")[0]), ()):
            action(caller)

    @staticmethod
    def _answer(future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    @staticmethod
    def _give_up(future: "asyncio.Future[Any]", failure: Callable[[str], Exception], why: str) -> None:
        if not future.done():
            future.set_exception(failure(why))
