"""How long a partition stands still while aggregators share the partitions anew: they hold many ids and rows."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from itertools import islice

from dataforge.state.redis import RedisState
from dataforge.stream.producer import BatchProducer
from dataforge.stream.topics import TopicSpec, ensure_topics

from devstack.bench.deployed import Deployed, sales_as, servers
from devstack.bench.logs import fill
from devstack.bench.sales import PARTITIONS, Produced, drawn
from devstack.errors import StackError

_STORES, _WINDOWS = 10_000, 20
_EVENT = "rebalanced"
_NAME, _TOPIC = f"sales.{_EVENT}.v1", f"judged.sales.{_EVENT}.v1"
_TICKS, _TICK_S, _LOOK_S = 300, 0.05, 0.01
_PATIENCE_S = 60.0


async def rebalances(events: int, seed: int) -> dict[str, float]:
    """The longest that a record of any partition waited to be counted, in seconds: while a second aggregator joins one
    that has counted so many events, and while it leaves. And how many rows a partition holds. *Raises* `StackError`.
    """
    sales, found = drawn(events, seed, _STORES, _WINDOWS), dict[str, float]()
    with servers() as (reach, folder):
        # What is sealed is held no more: with an hour of lateness nothing is.
        domain = sales_as(_EVENT, folder, label_cap=100_000, lateness="1h")
        state, producer = RedisState(reach.redis_url), BatchProducer(reach.kafka)
        trickle = _Trickle(state, producer, {partition: sales.judged(partition) for partition in range(PARTITIONS)})
        first, second = Deployed("aggregator", reach), Deployed("aggregator", reach)
        waits: list[asyncio.Task[float]] = []

        async def beside() -> bool:
            """What happens while the first runs."""
            if not await trickle.is_counted():
                return False
            found["rows of a partition"] = await _rows(state)
            owners = await _owners(state)
            waits.append(asyncio.create_task(trickle.longest_wait_s()))

            async def shared() -> bool:
                await asyncio.wait([waits[0]], timeout=_TICK_S)
                if waits[0].done():
                    waits.append(asyncio.create_task(trickle.longest_wait_s()))
                return waits[0].done()

            await second.run(domain, shared)
            if await _owners(state) == owners:
                raise StackError("no partition got another owner while a second aggregator joined and left")
            found["rebalance s, one joins"], found["rebalance s, one leaves"] = [await wait for wait in waits]
            return True

        try:
            await ensure_topics(reach.kafka, [TopicSpec(_TOPIC, PARTITIONS)])
            await fill(
                reach.kafka, _TOPIC, lambda partition: trickle.first(partition, len(sales.in_partition(partition)))
            )
            await producer.start()
            await first.run(domain, beside)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            await producer.stop()
            await state.close()
    return found


async def _owners(state: RedisState) -> dict[int, str]:
    return {partition: (await state.owner(_NAME, partition))[0] for partition in range(PARTITIONS)}


async def _rows(state: RedisState) -> int:
    """Of the first partition, as its next owner will load them."""
    return sum(map(len, (await state.load(_NAME, 0, 3_600_000)).windows.values()))


class _Trickle:
    """The last records of each partition, one by one."""

    def __init__(self, state: RedisState, producer: BatchProducer, records: dict[int, Iterator[Produced]]) -> None:
        self._state, self._producer, self._records = state, producer, records
        self._sent = dict.fromkeys(records, 0)

    def first(self, partition: int, of: int) -> Iterator[Produced]:
        """All of a partition's but the last, which are for two waits."""
        self._sent[partition] = of - 2 * _TICKS
        return islice(self._records[partition], self._sent[partition])

    async def is_counted(self) -> bool:
        return all([(await self._state.head(_NAME, p)).next >= sent for p, sent in self._sent.items()])

    async def longest_wait_s(self) -> float:
        """Of a record that is sent to each partition every now and then. *Raises* `StackError`."""
        waiting = {partition: deque[tuple[int, float]]() for partition in self._records}
        sending = asyncio.create_task(self._send(waiting))
        longest_s = 0.0
        try:
            while not sending.done() or any(waiting.values()):
                await asyncio.sleep(_LOOK_S)
                if sending.done():
                    sending.result()
                for partition, records in waiting.items():
                    longest_s = max(longest_s, await self._counted(partition, records))
        finally:
            sending.cancel()
        return longest_s

    async def _counted(self, partition: int, records: deque[tuple[int, float]]) -> float:
        """Takes away those that are counted by now. Returns the longest that one of them waited."""
        if not records:
            return 0.0
        counted, now_s, longest_s = (await self._state.head(_NAME, partition)).next, time.monotonic(), 0.0
        if now_s - records[0][1] > _PATIENCE_S:
            raise StackError(f"a record of partition {partition} is not counted after {_PATIENCE_S:.0f} s")
        while records and records[0][0] <= counted:
            longest_s = max(longest_s, now_s - records.popleft()[1])
        return longest_s

    async def _send(self, waiting: dict[int, deque[tuple[int, float]]]) -> None:
        for _ in range(_TICKS):
            await asyncio.sleep(_TICK_S)
            for partition, records in self._records.items():
                self._sent[partition] += 1
                waiting[partition].append((self._sent[partition], time.monotonic()))
                await self._producer.send(_TOPIC, partition, islice(records, 1))
