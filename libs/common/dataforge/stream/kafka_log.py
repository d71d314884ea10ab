"""What workers ask Kafka beside the batches their consumer brings: bounds, ids, single records, tails."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from dataforge.errors import Fatal, Transient
from dataforge.runtime.watchdog import waiting
from dataforge.stream.origin import Bounds
from dataforge.stream.range_reader import RangeReader
from dataforge.stream.records import Record, TopicPartition

_READERS = 4
"""Connections of their own, used at the same time while partitions open side by side; then kept for the next time."""

K = TypeVar("K")
V = TypeVar("V")


class KafkaLog:
    """A `Log` outside of any consumer group. Connects when it is first asked.

    *Raises* `Transient` where Kafka is away, `Fatal` where a topic does not exist.
    """

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._slots = asyncio.Semaphore(_READERS)
        self._idle: list[RangeReader] = []
        self._bounds = _Together(self._ask_bounds)

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().__aexit__()

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[RangeReader]:
        with waiting():  # for those who read
            await self._slots.acquire()
        try:
            reader = self._idle.pop() if self._idle else await RangeReader(self._bootstrap).__aenter__()
            try:
                yield reader
            except GeneratorExit:
                # Whoever read has seen enough. The connection is as good as before: each reading seeks anew.
                self._idle.append(reader)
                raise
            except BaseException:
                # Whatever it was, the next one begins with a connection that nothing is wrong with.
                await reader.__aexit__()
                raise
            self._idle.append(reader)
        finally:
            self._slots.release()

    async def bounds(self, tp: TopicPartition) -> Bounds:
        return await self._bounds.ask(tp)

    async def _ask_bounds(self, tps: Set[TopicPartition]) -> dict[TopicPartition, Bounds]:
        async with self._reader() as reader:
            begins, ends = await reader.begin_offsets(tps), await reader.end_offsets(tps)
            ids = await reader.topic_ids(sorted({tp.topic for tp in tps}))
            return {tp: Bounds(ids[tp.topic], begins[tp], ends[tp]) for tp in tps}

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, bytes]:
        async with self._reader() as reader:
            return await reader.topic_ids(topics)

    async def record_at(self, tp: TopicPartition, offset: int) -> Record | None:
        async with self._reader() as reader:
            begin, end = (await reader.begin_offsets([tp]))[tp], (await reader.end_offsets([tp]))[tp]
            found: Record | None = None
            if begin <= offset < end:
                async for records in reader.read(tp, offset, offset + 1):
                    found = records[-1]
            return found

    async def read_from(self, tp: TopicPartition, offset: int) -> AsyncGenerator[Sequence[Record], None]:
        """Its records from `offset` to the end it has now.

        *Raises* `Fatal` where the log no longer, or not yet, holds `offset`.
        """
        async with self._reader() as reader:
            begin, end = (await reader.begin_offsets([tp]))[tp], (await reader.end_offsets([tp]))[tp]
            if not begin <= offset <= end:
                raise Fatal(
                    f"{tp.topic}/{tp.partition} holds offsets {begin} to {end}, and must be read from {offset}: it "
                    "was replaced, or retention overtook landing. Restore the topic, and raise its retention"
                )
            async for records in reader.read(tp, offset, end):
                yield records

    async def last_record(self, tp: TopicPartition) -> Record | None:
        """None where the log holds none."""
        async with self._reader() as reader:
            return await reader.last_record(tp)


class _Together(Generic[K, V]):
    """Questions that come while one is on its way are asked together, as the next one: two requests for any number."""

    def __init__(self, ask: Callable[[Set[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()
        self._waiting: dict[K, asyncio.Future[V]] = {}

    async def ask(self, key: K) -> V:
        answer = self._waiting.setdefault(key, asyncio.get_running_loop().create_future())
        async with self._asking:
            if not answer.done():
                waiting, self._waiting = self._waiting, {}
                await self._answer(waiting)
        return answer.result()

    async def _answer(self, waiting: Mapping[K, asyncio.Future[V]]) -> None:
        try:
            answers = await self._ask(waiting.keys())
        except BaseException as error:
            failed = error if isinstance(error, Exception) else Transient("the one who asked for all was cancelled")
            for future in waiting.values():
                future.set_exception(failed)
                future.exception()  # seen: the one who waited for it may be gone
            if not isinstance(error, Exception):
                raise
        else:
            for key, future in waiting.items():
                future.set_result(answers[key])
