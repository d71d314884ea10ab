"""What a fault is, what it acts on, and the list of the kinds there are.

A fault object is drawn once, with everything random about it decided, and lives for one injection:

    fault = KINDS["zombie"].draw(random.Random(seed))
    await fault.inject(stage)      # in force from here ...
    await asyncio.sleep(duration_s)
    await fault.heal(stage)        # ... to here; the platform recovers in its own time
    fault.evidence                 # what shows that it took effect, for the report
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from devstack.errors import StackError
from devstack.model import Endpoints
from devstack.stack import Stack

if TYPE_CHECKING:
    from devstack.chaos.proxies import Proxy

Evidence = dict[str, Any]
"""Plain JSON values."""
_LOOKS, _LOOK_S = 200, 0.1


class NotInForce(StackError):
    """The fault could not be brought about; the text says why. The platform is as it was, `heal` is still called."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What faults act on: a running stack with proxies before its servers, and the event type that is replayed."""

    stack: Stack
    proxies: Mapping[str, "Proxy"]
    """`kafka`, `valkey`, `s3`: what the services are told to connect to."""
    raw_topic: str
    judged_topic: str
    read: dict[str, Mapping[int, int]] = field(default_factory=dict[str, Mapping[int, int]])
    """Topic → partition → offset before which those who look on have read everything: no fault takes more from them."""

    @property
    def direct(self) -> Endpoints:
        """Past the proxies: for whoever must see the truth while the network is cut."""
        return self.stack.endpoints()


class Fault(Protocol):
    """One injection.

    *Guarantees*: `inject` returns once the fault is in force, or raises `NotInForce`; `heal` returns once its cause
    is gone (not: once the platform has recovered), may be called at any moment after `inject` began and more than
    once, and leaves alone what other faults do.
    """

    kind: str
    victim: str
    """The program it hits, e.g. `aggregator-2` or `kafka`; two faults on one victim say little at the same time."""
    evidence: Evidence
    """`effects`, where it is there after the heal: how often it had one. A fault without any has not happened."""

    async def inject(self, stage: Stage) -> None: ...

    async def heal(self, stage: Stage) -> None: ...


@runtime_checkable
class FinalFault(Fault, Protocol):
    """One that ends the work on its topic: nothing recovers from it, and that is what is checked."""

    async def check(self, stage: Stage) -> list[str]:
        """What is wrong afterwards, in words; empty where the platform did as it must."""
        ...


async def until_met(met: Callable[[], Awaitable[object]]) -> None:
    """Until a fault has met work, twenty seconds at most: beside another fault there may be none for a while."""
    for _ in range(_LOOKS):
        if await met():
            return
        await asyncio.sleep(_LOOK_S)


def _always() -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Kind:
    """How often and how long faults of a kind are drawn."""

    name: str
    draw: Callable[[random.Random], Fault]
    weight: float = 1.0
    least_s: float = 0.0
    most_s: float = 0.0
    """Time between `inject` and `heal`; 0 for what is over at once."""
    unavailable: Callable[[], str | None] = _always
    """Why this machine cannot do it; None where it can."""
    final: bool = False
    """It ends the work on its topic for good: once, after everything is compared."""
