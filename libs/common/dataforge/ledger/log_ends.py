"""Where Kafka's logs end, asked again and again: one consumer that is opened anew after an error."""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from dataforge.errors import DataForgeError, Transient
from dataforge.stream.range_reader import RangeReader
from dataforge.stream.records import TopicPartition

_ANSWER_S = 5.0


class LogEnds(Protocol):
    async def ends(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset the next record of each gets. *Raises* `Transient`."""
        ...

    async def holds_records(self, tp: TopicPartition, start: int, end: int) -> bool:
        """Whether any record lies in [start, end): offsets may also be a transaction's marks. *Raises* `Transient`."""
        ...


class KafkaEnds:
    """A `LogEnds` over Kafka. One question at a time; close it at the end."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._reader: RangeReader | None = None
        self._lock = asyncio.Lock()

    async def ends(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        async with self._lock:
            try:
                async with asyncio.timeout(_ANSWER_S):
                    return await (await self._open()).end_offsets(tps)
            except (DataForgeError, TimeoutError) as error:
                await self._drop()
                raise Transient(f"Kafka does not say where its logs end: {error!r}") from error

    async def holds_records(self, tp: TopicPartition, start: int, end: int) -> bool:
        async with self._lock:
            try:
                async with asyncio.timeout(_ANSWER_S):
                    async for _ in (await self._open()).read(tp, start, end):
                        return True
                    return False
            except (DataForgeError, TimeoutError) as error:
                await self._drop()
                raise Transient(f"Kafka does not read {tp.topic}/{tp.partition} from {start}: {error!r}") from error

    async def close(self) -> None:
        async with self._lock:
            await self._drop()

    async def _open(self) -> RangeReader:
        if self._reader is None:
            self._reader = await RangeReader(self._bootstrap).__aenter__()
        return self._reader

    async def _drop(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.__aexit__(None, None, None)
