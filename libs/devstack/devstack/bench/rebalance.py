"""How long a partition stands still while aggregators share the partitions anew: they hold many ids and rows."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from itertools import islice

from dataforge.state.redis import RedisState
from dataforge.stream.producer import BatchProducer
from dataforge.stream.topics import TopicSpec, ensure_topics

from devstack.bench.contestants import TOPIC
from devstack.bench.deployed import SALES, Deployed, servers
from devstack.bench.logs import fill
from devstack.bench.sales import PARTITIONS, Produced, drawn
from devstack.errors import StackError

_STORES, _WINDOWS = 10_000, 20
_NAME = "sales.sale.v1"
_TICKS, _TICK_S, _LOOK_S = 300, 0.05, 0.01
_PATIENCE_S = 60.0


async def rebalances(events: int, seed: int) -> dict[str, float]:
    """The longest that a record of any partition waited to be counted, in seconds: while a second aggregator joins one
    that has counted so many events, and while it leaves. *Raises* `StackError` where it gets no partition.
    """
    sales, waits = drawn(events, seed, _STORES, _WINDOWS), dict[str, float]()
    with servers() as (reach, _):
        state, producer = RedisState(reach.redis_url), BatchProducer(reach.kafka)
        trickle = _Trickle(state, producer, {partition: sales.judged(partition) for partition in range(PARTITIONS)})
        first, second = Deployed("aggregator", reach), Deployed("aggregator", reach)

        async def beside() -> bool:
            """What happens while the first runs."""
            if not await trickle.is_counted():
                return False
            owners = await _owners(state)
            joining = asyncio.create_task(trickle.longest_wait_s())
            leaving: list[asyncio.Task[float]] = []

            async def shared() -> bool:
                await asyncio.wait([joining], timeout=_TICK_S)
                if joining.done():
                    leaving.append(asyncio.create_task(trickle.longest_wait_s()))
                return joining.done()

            await second.run(SALES, shared)
            waits["rebalance s, one joins"] = await joining
            waits["rebalance s, one leaves"] = await leaving[0]
            if all(claim == owners[partition] for partition, claim in (await _owners(state)).items()):
                raise StackError("the aggregator that joined got no partition")
            return True

        try:
            await ensure_topics(reach.kafka, [TopicSpec(TOPIC, PARTITIONS)])
            await fill(
                reach.kafka, TOPIC, lambda partition: trickle.first(partition, len(sales.in_partition(partition)))
            )
            await producer.start()
            await first.run(SALES, beside)
        finally:
            await producer.stop()
            await state.close()
    return waits


async def _owners(state: RedisState) -> dict[int, str]:
    return {partition: (await state.owner(_NAME, partition))[0] for partition in range(PARTITIONS)}


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
        while not sending.done() or any(waiting.values()):
            await asyncio.sleep(_LOOK_S)
            for partition, records in waiting.items():
                if not records:
                    continue
                counted = (await self._state.head(_NAME, partition)).next
                now_s = time.monotonic()
                if now_s - records[0][1] > _PATIENCE_S:
                    raise StackError(f"a record of partition {partition} is not counted after {_PATIENCE_S:.0f} s")
                while records and records[0][0] <= counted:
                    longest_s = max(longest_s, now_s - records.popleft()[1])
        await sending
        return longest_s

    async def _send(self, waiting: dict[int, deque[tuple[int, float]]]) -> None:
        for _ in range(_TICKS):
            await asyncio.sleep(_TICK_S)
            for partition, records in self._records.items():
                self._sent[partition] += 1
                waiting[partition].append((self._sent[partition], time.monotonic()))
                await self._producer.send(TOPIC, partition, islice(records, 1))
