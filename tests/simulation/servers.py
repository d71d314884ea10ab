"""Log, object store and state store as the workers see them: the in-memory twins behind a network.

Each method is the client that the service uses for real, with its errors: an unknown result of a produce or a
commit is `Fatal`, of a PUT `Transient`.
"""

from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from random import Random
from typing import Any, TypeVar

from dataforge.errors import Fatal, Transient
from dataforge.state.memory import MemoryState
from dataforge.state.model import Commit, FeedEntry, Loaded, PartitionRead, Settlement
from dataforge.state.store import Named
from dataforge.storage.memory import MemoryStore
from dataforge.stream.origin import Bounds
from dataforge.stream.records import Record, TopicPartition
from dataforge.testing.log import MemoryLog, Produced

from simulation.network import Network

T = TypeVar("T")

RETRY_S = 0.3


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing: a server does one request at one instant."""
    try:
        call.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a server's request must not wait")


def away(why: str) -> Transient:
    return Transient(why, retry_after_s=RETRY_S)


class RemoteLog:
    """Kafka: what the workers' producers and readers do beside the consumer's polls."""

    def __init__(self, log: MemoryLog, network: Network, random: Random) -> None:
        self._log, self._network, self._random = log, network, random
        self.produced = 0
        self.sparse = 0.0
        """Share of the sends after which offsets are skipped."""

    async def send(self, topic: str, partition: int, records: Iterable[Produced]) -> int | None:
        """A producer's batches go one by one; the first that fails ends it, those before are there."""
        last, rest = None, list(records)
        while rest:
            size = self._random.randint(1, len(rest)) if self._random.random() < 0.5 else len(rest)
            batch, rest = rest[:size], rest[size:]
            tp = TopicPartition(topic, partition)
            life = self._log.id_of(topic)
            last = await self._network.call(
                f"send {topic}/{partition}", lambda tp=tp, batch=batch, life=life: self._append(tp, batch, life), Fatal
            )
        return last

    def _append(self, tp: TopicPartition, batch: Sequence[Produced], life: bytes) -> int | None:
        if self._log.id_of(tp.topic) != life:
            raise Fatal(f"topic {tp.topic} is not the one any more that this producer knows")
        if self._random.random() < self.sparse:
            self._log.skip(tp, self._random.randint(1, 3))
        self.produced += 1
        last = None
        for key, value, headers in batch:
            last = self._log.append(tp, key, value, headers)
        return last

    def id_of(self, topic: str) -> bytes:
        return self._log.id_of(topic)

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, bytes]:
        return await self._network.call("ids", lambda: {topic: self._log.id_of(topic) for topic in topics}, away)

    async def bounds(self, tp: TopicPartition) -> Bounds:
        def found() -> Bounds:
            return Bounds(self._log.id_of(tp.topic), self._log.begin(tp), self._log.end(tp))

        return await self._network.call("bounds", found, away)

    async def record_at(self, tp: TopicPartition, offset: int) -> Record | None:
        def found() -> Record | None:
            at = self._log.records(tp, offset, 1)
            return at[0] if at and at[0].offset == offset else None

        return await self._network.call("record", found, away)

    async def read_from(self, tp: TopicPartition, offset: int) -> AsyncIterator[Sequence[Record]]:
        end = await self._network.call("ends", lambda: self._log.end(tp), away)
        if not self._log.begin(tp) <= offset <= end:
            raise Fatal(f"{tp.topic}/{tp.partition} must be read from {offset}, and ends at {end}")
        while offset < end:
            batch = await self._network.call(
                "read", lambda offset=offset: self._log.fetch(tp, offset, self._random.randint(1, 50)), away
            )
            yield [record for record in batch.records if record.offset < end]
            offset = batch.next

    async def last_record(self, tp: TopicPartition) -> Record | None:
        return await self._network.call("last", lambda: at_once(self._log.last_record(tp)), away)


class RemoteStore:
    """An object store. A PUT that was given up may still arrive."""

    def __init__(self, store: MemoryStore, network: Network) -> None:
        self._objects = store.objects
        self._network = network
        self.created = 0

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        return await self._network.call(f"put {key}", lambda: self._put(key, data), away)

    def _put(self, key: str, data: bytes) -> bool:
        if key in self._objects:
            return False
        self._objects[key] = data
        self.created += 1
        return True

    async def get(self, key: str) -> bytes:
        return await self._network.call("get", lambda: self._objects[key], away)

    async def tail(self, key: str, size: int) -> bytes:
        return await self._network.call("tail", lambda: self._objects[key][-size:], away)

    async def list(self, prefix: str, start_after: str = "") -> AsyncIterator[str]:
        found = await self._network.call(
            "list", lambda: sorted(k for k in self._objects if k.startswith(prefix) and k > start_after), away
        )
        for key in found:
            yield key


class RemoteState:
    """Redis. It remembers how it stood at each change, to be rolled back to."""

    KEPT = 40

    def __init__(self, state: MemoryState, network: Network) -> None:
        self._state, self._network = state, network
        self.committed = 0
        self.past: list[Mapping[Named, Any]] = []

    def roll_back(self, steps: int) -> bool:
        """Lose the last changes. False where there are none to lose."""
        if not self.past:
            return False
        at = max(0, len(self.past) - steps)
        self._state.roll_back(self.past[at])
        del self.past[at:]
        return True

    def wipe(self) -> None:
        """Lose everything, as a server that was replaced."""
        self._state.roll_back({})
        self.past.clear()

    def _change(self, call: Coroutine[Any, Any, T]) -> T:
        before = self._state.snapshot()
        result = at_once(call)
        self.past = [*self.past[-self.KEPT :], before]
        return result

    # ---- writer
    async def claim(self, name: str, partition: int, token: str) -> None:
        effect = lambda: self._change(self._state.claim(name, partition, token))  # noqa: E731
        await self._network.call(f"claim {partition}", effect, away)

    async def owner(self, name: str, partition: int) -> tuple[str, int]:
        return await self._network.call("owner", lambda: at_once(self._state.owner(name, partition)), away)

    async def load(self, name: str, partition: int, lateness_ms: int) -> Loaded:
        """In two steps, as for real: what is there, then its open windows."""

        def step() -> Loaded:
            return at_once(self._state.load(name, partition, lateness_ms))

        first = await self._network.call(f"load {partition}", step, away)
        second = await self._network.call(f"load-windows {partition}", step, away)
        windows = {key: second.windows.get(key, {}) for key in first.windows}
        return first._replace(windows=windows)

    async def settle(self, name: str, partition: int, settlement: Settlement) -> None:
        effect = lambda: self._change(self._state.settle(name, partition, settlement))  # noqa: E731
        await self._network.call(f"settle {partition}", effect, away)

    async def watermarks(self, name: str, partitions: Sequence[int]) -> list[int]:
        return await self._network.call("watermarks", lambda: at_once(self._state.watermarks(name, partitions)), away)

    async def commit(self, name: str, partition: int, commit: Commit) -> None:
        def effect() -> None:
            self._change(self._state.commit(name, partition, commit))
            self.committed += 1

        await self._network.leave("commit", away)
        await self._network.call(f"commit {partition} {commit.previous}->{commit.position}", effect, Fatal)

    # ---- reader
    async def read(
        self, name: str, partition: int, table: str, size_ms: int, start_ms: int, end_ms: int, most: int | None = None
    ) -> PartitionRead:
        def effect() -> PartitionRead:
            return at_once(self._state.read(name, partition, table, size_ms, start_ms, end_ms, most))

        return await self._network.call("get-rows", effect, away)

    async def head(self, name: str, partition: int) -> PartitionRead:
        return await self._network.call("head", lambda: at_once(self._state.head(name, partition)), away)

    async def feed(self, cursors: Mapping[Named, str], block_ms: int) -> list[tuple[Named, list[FeedEntry]]]:
        await self._network.call("xread", lambda: None, away)
        return await self._state.feed(cursors, block_ms)

    async def feed_range(self, name: str, partition: int, after_id: str, up_to_id: str) -> list[FeedEntry]:
        def effect() -> list[FeedEntry]:
            return at_once(self._state.feed_range(name, partition, after_id, up_to_id))

        return await self._network.call("xrange", effect, away)

    async def ledger(self, name: str, partition: int) -> dict[int, dict[str, Any]]:
        return await self._network.call("ledger", lambda: at_once(self._state.ledger(name, partition)), away)
