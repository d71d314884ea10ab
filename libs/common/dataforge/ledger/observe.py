"""Reads the stages of an event's partitions and balances them: state, object store and log ends, each as it is now.

What is away is left out, and said: the other stages are still compared.
"""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from dataforge.contracts.model import Domain, EventType
from dataforge.errors import DataForgeError
from dataforge.ledger.balance import Counted, Landed, Logs, PartitionLedger, balance
from dataforge.ledger.landed import LandedMinutes
from dataforge.ledger.log_ends import LogEnds
from dataforge.state.store import StateReader
from dataforge.storage.chain import Chain
from dataforge.storage.objects import ObjectStore
from dataforge.stream.records import TopicPartition

FRESH_S = 1.0
"""Landing and log ends are asked at most this often, however many ask."""
_TRIES = 5

AWAY = (DataForgeError, OSError)
"""What a server that does not answer raises."""


class EventObserved(NamedTuple):
    partitions: tuple[PartitionLedger, ...]
    away: tuple[str, ...]
    """What could not be asked, in words."""


class _Outside(NamedTuple):
    """What does not come from the state store."""

    landed: list[Landed | None]
    logs: list[Logs | None]
    away: tuple[str, ...]


class Observer:
    """*Guarantees*: counts and position of a partition are of one instant. *Raises* `Transient` where the state store
    is away; for Kafka and the object store it says so instead.
    """

    def __init__(
        self,
        state: StateReader,
        store: ObjectStore | None,
        logs: LogEnds | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state, self._store, self._logs, self._clock = state, store, logs, clock
        self._chains: dict[TopicPartition, LandedMinutes] = {}
        self._outside: dict[str, tuple[float, _Outside]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def chain(self, tp: TopicPartition) -> LandedMinutes | None:
        """The chain of a raw or judged partition; None where no object store is configured."""
        if self._store is None:
            return None
        return self._chains.setdefault(tp, LandedMinutes(Chain(self._store, *tp)))

    async def observe(self, domain: Domain, event: EventType) -> EventObserved:
        name, ttl_ms = event.contract.name, event.ttl_ms
        counted = await asyncio.gather(*(self.counted(name, p) for p in range(domain.partitions)))
        newest = max((max(one.minutes, default=0) for one in counted), default=0)
        outside = await self._outside_of(domain, event, newest - ttl_ms)
        parts = zip(range(domain.partitions), counted, outside.landed, outside.logs, strict=True)
        return EventObserved(tuple(balance(*part, ttl_ms) for part in parts), outside.away)

    async def counted(self, name: str, partition: int) -> Counted:
        """The counts with the position they belong to: read between two looks at the position that agree."""
        head = await self._state.head(name, partition)
        for _ in range(_TRIES):
            minutes = await self._state.ledger(name, partition)
            after = await self._state.head(name, partition)
            if after.position == head.position:
                return Counted(head.next, head.position, minutes)
            head = after
        # Committing faster than we read: the newest minute may then be ahead, and counts as open until the next look.
        return Counted(head.next, head.position, await self._state.ledger(name, partition))

    async def _outside_of(self, domain: Domain, event: EventType, from_ms: int) -> _Outside:
        name = event.contract.name
        async with self._locks.setdefault(name, asyncio.Lock()):
            kept = self._outside.get(name)
            if kept is not None and self._clock() - kept[0] < FRESH_S:
                return kept[1]
            landed, logs = await asyncio.gather(self._landed(domain, event, from_ms), self._log_ends(domain, event))
            found = _Outside(landed[0], logs[0], tuple(text for text in (landed[1], logs[1]) if text))
            self._outside[name] = (self._clock(), found)
            return found

    async def _landed(self, domain: Domain, event: EventType, from_ms: int) -> tuple[list[Landed | None], str]:
        if self._store is None:
            return [None] * domain.partitions, ""
        try:
            chains = [self.chain(TopicPartition(event.contract.raw_topic, p)) for p in range(domain.partitions)]
            return list(await asyncio.gather(*(chain.refresh(from_ms) for chain in chains if chain))), ""
        except AWAY as error:
            return [None] * domain.partitions, f"landing: {error}"

    async def _log_ends(self, domain: Domain, event: EventType) -> tuple[list[Logs | None], str]:
        if self._logs is None:
            return [None] * domain.partitions, ""
        raw = [TopicPartition(event.contract.raw_topic, p) for p in range(domain.partitions)]
        judged = [TopicPartition(event.contract.judged_topic, p) for p in range(domain.partitions)]
        try:
            ends = await self._logs.ends([*raw, *judged])
            return [Logs(ends[r], ends[j]) for r, j in zip(raw, judged, strict=True)], ""
        except AWAY as error:
            return [None] * domain.partitions, f"log: {error}"
