"""Who counts the sales of the stream suite: the aggregator, the bare loop, and the peers."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
from redis.asyncio import Redis

from dataforge.contracts.load import load_domains
from dataforge.kpi.catalogue import Catalogue
from dataforge.kpi.value import merging
from dataforge.state.redis import RedisState

from devstack.bench import peers
from devstack.bench.contest import OURS
from devstack.bench.deployed import CONTESTANTS, LOOK_S, NOTHING, SALES, Deployed, sales_as
from devstack.bench.process import Cost, cost_of
from devstack.bench.sales import PARTITIONS, WINDOW_MS, Row, Sales
from devstack.errors import StackError
from devstack.model import Endpoints

TOPIC = "judged.sales.sale.v1"
_FOREVER_MS = 2**53


class Outcome(NamedTuple):
    cost: Cost
    rows: list[Row]
    """What it counted."""


class Contestant(Protocol):
    async def run(self, topic: str, sales: Sales) -> Outcome:
        """Count the topic, which holds just these; where there are none, start and end.

        *Raises* `StackError` where it fails.
        """
        ...


@dataclass(frozen=True)
class Script:
    """A program that is told where to read and how much, and says its rows at the end."""

    command: Sequence[str]
    kafka: str

    async def run(self, topic: str, sales: Sales) -> Outcome:
        command = [*self.command, self.kafka, topic, str(PARTITIONS), str(len(sales))]
        cost = await cost_of(command, {**os.environ, "PYTHONPATH": str(CONTESTANTS)})
        said = [line for line in cost.said.splitlines() if line.startswith("[")]  # frameworks say other things too
        if not said:
            raise StackError(f"{' '.join(command)} ended without a word of what it counted")
        return Outcome(cost, msgspec.json.decode(said[-1], type=list[Row]))


def bare(kafka: str) -> Script:
    return Script([sys.executable, str(CONTESTANTS / "bare.py")], kafka)


def peer(file: str, kafka: str) -> Script:
    """*Raises* `StackError` where its environment cannot be made."""
    return Script([str(peers.python()), str(peers.PEERS / file)], kafka)


def kafka_streams(kafka: str) -> Script:
    """*Raises* `StackError` where it cannot be compiled."""
    return Script(peers.kafka_streams(), kafka)


class Aggregator:
    """As it is deployed, from an empty state: one process, or several that share the partitions."""

    def __init__(
        self, reach: Endpoints, scratch: Path, domain: Path = SALES, event: str = "sale", processes: int = 1
    ) -> None:
        self._reach, self._state = reach, Redis.from_url(reach.redis_url)
        self._domain, self._event, self._nothing = domain, f"sales.{event}.v1", sales_as(NOTHING, scratch)
        self._processes = [Deployed("aggregator", reach) for _ in range(processes)]

    async def run(self, topic: str, sales: Sales) -> Outcome:
        await self._state.flushdb()
        if not len(sales):
            return Outcome(await self._run(self._nothing, None), [])
        kpis = RedisState(self._reach.redis_url)
        try:
            cost = await self._run(self._domain, lambda: _counted(kpis, self._event, sales))
            return Outcome(cost, await _rows(kpis, self._event, self._domain))
        finally:
            await kpis.close()

    async def _run(self, domain: Path, done: Callable[[], Awaitable[bool]] | None) -> Cost:
        costs = await asyncio.gather(*(process.run(domain, done or self._all_ready) for process in self._processes))
        return Cost(
            sum(cost.cpu_s for cost in costs),
            max(cost.wall_s for cost in costs),
            sum(cost.peak_mib for cost in costs),
            "",
        )

    async def _all_ready(self) -> bool:
        return all(await asyncio.gather(*(process.ready() for process in self._processes)))


async def _counted(kpis: RedisState, event: str, sales: Sales) -> bool:
    await asyncio.sleep(LOOK_S)  # being asked costs the store that commits wait for
    heads = [await kpis.head(event, partition) for partition in range(PARTITIONS)]
    return sum(head.next for head in heads) >= len(sales)


async def _rows(kpis: RedisState, event: str, domain: Path) -> list[Row]:
    """As a reader sees them: merged over partitions."""
    catalogue = Catalogue(load_domains([domain]))
    cells: dict[tuple[str, str, int], list[int]] = {}
    for dimension, metric in product(("store", "category"), ("revenue", "units", "sales", "largest")):
        selection = catalogue.select(metric=metric, by=(dimension,))
        merge, merged = merging(selection.view), dict[tuple[str, int], list[list[object]]]()
        for partition in range(PARTITIONS):
            read = await kpis.read(event, partition, selection.view.table.id, WINDOW_MS, 0, _FOREVER_MS)
            for start, labels in read.windows.items():
                for label, row in labels.items():
                    merged.setdefault((label, start), []).append(row)
        for (label, start), stored in merged.items():
            value, _ = merge(stored)
            cells.setdefault((dimension, label[2:-2], start), []).append(value)
    return [(*key, values) for key, values in cells.items()]


def everybody(reach: Endpoints, scratch: Path, names: Sequence[str]) -> Mapping[str, Contestant]:
    """Ours, and these others. *Raises* `StackError` where one of them cannot be had."""
    others = {
        "bare_aiokafka": lambda: bare(reach.kafka),
        "stock_faust": lambda: peer("stock_faust.py", reach.kafka),
        "quix_streams": lambda: peer("quix_streams.py", reach.kafka),
        "bytewax": lambda: peer("bytewax_flow.py", reach.kafka),
        "kafka_streams": lambda: kafka_streams(reach.kafka),
    }
    return {OURS: Aggregator(reach, scratch)} | {name: others[name]() for name in names}
