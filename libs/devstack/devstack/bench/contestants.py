"""Who counts the sales of the stream suite: the aggregator, the bare loop, and the peers."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple, Protocol

import httpx
import msgspec
from redis.asyncio import Redis

from dataforge.contracts.load import load_domains
from dataforge.kpi.catalogue import Catalogue
from dataforge.kpi.value import value_of
from dataforge.state.redis import RedisState

from devstack.bench import peers
from devstack.bench.contest import OURS
from devstack.bench.process import Cost, cost_of
from devstack.bench.sales import PARTITIONS, WINDOW_MS, Row, Sales
from devstack.errors import StackError
from devstack.model import Endpoints
from devstack.paths import repo_root
from devstack.ports import PortClaims

BENCH = repo_root() / "bench"
TOPIC, NOTHING = "judged.sales.sale.v1", "judged.sales.none.v1"
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
        cost = await cost_of(command, {**os.environ, "PYTHONPATH": str(BENCH / "contestants")})
        said = [line for line in cost.said.splitlines() if line.startswith("[")]  # frameworks say other things too
        if not said:
            raise StackError(f"{' '.join(command)} ended without a word of what it counted")
        return Outcome(cost, msgspec.json.decode(said[-1], type=list[Row]))


def bare(kafka: str) -> Script:
    return Script([sys.executable, str(BENCH / "contestants" / "bare.py")], kafka)


def peer(file: str, kafka: str) -> Script:
    """*Raises* `StackError` where its environment cannot be made."""
    return Script([str(peers.python()), str(peers.PEERS / file)], kafka)


def kafka_streams(kafka: str) -> Script:
    """*Raises* `StackError` where it cannot be compiled."""
    return Script(peers.kafka_streams(), kafka)


class Aggregator:
    """`python -m aggregator`, from an empty state."""

    def __init__(self, reach: Endpoints, scratch: Path) -> None:
        self._reach, self._ports, self._state = reach, PortClaims(), Redis.from_url(reach.redis_url)
        self._domains = {TOPIC: BENCH / "sales", NOTHING: _of_nothing(scratch)}

    async def run(self, topic: str, sales: Sales) -> Outcome:
        domain = self._domains[topic]
        await self._state.flushdb()
        admin = self._ports.claim({"admin": 0})["admin"]
        env = {**os.environ, **self._reach.service_env([str(domain)]), "DATAFORGE_ADMIN_PORT": str(admin)}
        kpis = RedisState(self._reach.redis_url)
        try:
            cost = await cost_of(
                [sys.executable, "-m", "aggregator"],
                env | {"DATAFORGE_LOG_LEVEL": "WARNING"},
                (lambda: _counted(kpis, sales)) if len(sales) else (lambda: _ready(admin)),
            )
            return Outcome(cost, await _rows(kpis) if len(sales) else [])
        finally:
            await kpis.close()
            self._ports.release()


def _of_nothing(scratch: Path) -> Path:
    """The same domain over a topic that nobody writes: what starting costs, without a record."""
    domain = shutil.copytree(BENCH / "sales", scratch / "sales")
    (domain / "sale.v1.json").rename(domain / "none.v1.json")
    metrics = domain / "metrics.yaml"
    metrics.write_text(metrics.read_text().replace("event: sale", "event: none"))
    return domain


async def _ready(admin: int) -> bool:
    try:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"http://127.0.0.1:{admin}/readyz")).is_success
    except httpx.HTTPError:
        return False


def _event(topic: str) -> str:
    return topic.removeprefix("judged.")


async def _counted(kpis: RedisState, sales: Sales) -> bool:
    heads = [await kpis.head(_event(TOPIC), partition) for partition in range(PARTITIONS)]
    return sum(head.next for head in heads) >= len(sales)


async def _rows(kpis: RedisState) -> list[Row]:
    """As a reader sees them: merged over partitions."""
    catalogue = Catalogue(load_domains([BENCH / "sales"]))
    cells: dict[tuple[str, str, int], list[int]] = {}
    for dimension, metric in product(("store", "category"), ("revenue", "units", "sales", "largest")):
        selection = catalogue.select(metric=metric, by=(dimension,))
        merged: dict[tuple[str, int], list[list[object]]] = {}
        for partition in range(PARTITIONS):
            read = await kpis.read(_event(TOPIC), partition, selection.view.table.id, WINDOW_MS, 0, _FOREVER_MS)
            for start, labels in read.windows.items():
                for label, row in labels.items():
                    merged.setdefault((label, start), []).append(row)
        for (label, start), stored in merged.items():
            value, _ = value_of(selection.view, stored)
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
