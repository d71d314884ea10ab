"""Corrections on a real log: read by the aggregator's own process, whatever is on the topic, and shown by the API."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from dataforge.contracts.load import load_domain
from dataforge.corrections import OVERLAY, TOPIC, Correction, encode, key_of, overlay_table
from dataforge.kpi.plan import plan
from dataforge.state.redis import RedisState
from dataforge.stream.producer import BatchProducer
from dataforge.stream.topics import TopicSpec, ensure_topics
from dataforge.testing.kpis import correction

from devstack.model import Endpoints
from query_api.app import build
from query_api.settings import ApiSettings

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SALE = {
    "type": "object",
    "x-dataforge": {"id": "id", "event_time": "at", "key": "shop"},
    "properties": {
        "id": {"type": "string"},
        "at": {"type": "string", "format": "date-time"},
        "shop": {"type": "string"},
    },
    "required": ["id", "at", "shop"],
}
METRICS = """
dimensions: {shop: {field: shop}}
metrics:
  sales: {event: sale, measure: count, by: [[shop]], windows: [1m]}
"""


async def until(condition: Callable[[], Awaitable[bool]], what: str, said: Callable[[], str]) -> None:
    try:
        async with asyncio.timeout(120):
            while not await condition():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"still not: {what}: {said()[-2000:]}") from None


class Aggregator:
    """A process that can be killed and started again."""

    def __init__(self, folder: Path, reach: Endpoints) -> None:
        self.domain = folder / f"test{uuid4().hex[:12]}"
        self.domain.mkdir()
        (self.domain / "domain.yaml").write_text(f"name: {self.domain.name}\ndescription: A test\npartitions: 1\n")
        (self.domain / "sale.v1.json").write_text(json.dumps(SALE))
        (self.domain / "metrics.yaml").write_text(METRICS)
        self._env = os.environ | reach.service_env([str(self.domain)])
        self._log = folder / "aggregator.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "aggregator"]
            self._process = subprocess.Popen(command, env=self._env, stdout=log, stderr=subprocess.STDOUT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def said(self) -> str:
        return self._log.read_text()


@pytest.fixture
def aggregator(tmp_path: Path, endpoints: Endpoints) -> Iterator[Aggregator]:
    running = Aggregator(tmp_path, endpoints)
    yield running
    running.kill()


async def test_what_is_on_the_topic_is_shown_through_crashes_and_a_topic_that_comes_late(
    aggregator: Aggregator, endpoints: Endpoints
) -> None:
    domain = load_domain(aggregator.domain)
    contract = domain.events[0].contract
    view = plan(domain.events[0]).view("sales", ("shop",))
    topics = [TopicSpec(name, 1) for name in (contract.raw_topic, contract.judged_topic)]
    await ensure_topics(endpoints.kafka, topics)
    state, producer = RedisState(endpoints.redis_url), BatchProducer(endpoints.kafka)

    def said(shop: str, revision: int, sales: int) -> Correction:
        return correction(contract.name, view, 60_000, 0, (shop,), sales, revision=revision)

    async def send(*records: Correction | bytes) -> int:
        values = [(key_of(r), encode(r), []) if isinstance(r, Correction) else (b"", r, []) for r in records]
        return await producer.send(TOPIC, 0, values)

    async def shows(expected: dict[str, tuple[int, int]]) -> bool:
        """Store -> (sales, revision), by the API."""
        transport = httpx.ASGITransport(build(ApiSettings(fresh_ms=0), [domain], state))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as api:
            answer = await api.get("/metrics", params={"metric": "sales", "by": "shop"})
        rows = answer.json()["rows"]
        assert all(row["corrected"] for row in rows)
        return {row["labels"]["shop"]: (row["value"], row["revision"]) for row in rows} == expected

    async def ready() -> bool:
        return "partitions are open" in aggregator.said()

    aggregator.start()
    await until(ready, "it counts, with no such topic", aggregator.said)
    await ensure_topics(endpoints.kafka, [TopicSpec(TOPIC, 1)])
    await producer.start()
    try:
        await send(said("a", 1, 5), b"{", said("b", 2, 7), said("b", 1, 9))
        await until(lambda: shows({"a": (5, 1), "b": (7, 2)}), "the first corrections", aggregator.said)
        aggregator.kill()
        last = await send(said("a", 2, 6), said("a", 2, 8), said("b", 2, 8), b"\xff")
        aggregator.start()
        await until(lambda: shows({"a": (6, 2), "b": (7, 2)}), "those that came while it was away", aggregator.said)
        assert (await state.head(*OVERLAY)).next == last + 1
        read = await state.read(*OVERLAY, overlay_table(contract.name, view.table.id), 60_000, 0, 1)
        assert read.windows == {0: {'["a"]': [2, {1: 6}], '["b"]': [2, {1: 7}]}}
    finally:
        await producer.stop()
        await state.close()
