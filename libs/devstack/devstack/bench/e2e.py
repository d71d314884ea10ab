"""The e2e suite: how long from produce to the screen of a WebSocket client, beside the shortest script that does it.

Both get the same events at the same rate from the same producer, with servers of their own on the same machine; ours
with all services, as `dataforge up` runs them; `hasty` is ours too, where the aggregator commits five times as often.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import median
from zlib import crc32

import numpy as np

from dataforge.stream.producer import BatchProducer
from dataforge.stream.topics import TopicSpec, ensure_topics

from devstack.bench.contest import OURS, SuiteReport
from devstack.bench.deployed import CONTESTANTS, SALES, servers
from devstack.bench.sales import PARTITIONS, Produced
from devstack.bench.turns import Say
from devstack.errors import StackError
from devstack.latency import Coverage, Sent, percentile, watching
from devstack.ports import PortClaims
from devstack.stack import Stack

RATES = (1_000, 5_000, 20_000)
_MIDDLE = 5_000
P99_IN_THE_MIDDLE = f"{OURS} p99 ms at {_MIDDLE}"
_HASTY = {"DATAFORGE_COMMIT_INTERVAL_MS": "20"}
_TICK_S = 0.01
_WARM_UP_S = 2.0
"""Nobody waits for the first events of a service."""
_TOPIC = "raw.sales.sale.v1"
_CATEGORIES = 30
_READY_S = 30.0


async def e2e(*, events: int, rounds: int, seed: int, names: Sequence[str], say: Say) -> SuiteReport:
    """`events` are those sent at the middle rate; at another one as many as in the same time.

    *Raises* `StackError` where one of them does not show what was sent.
    """
    seconds = events / _MIDDLE
    others = {"bare": _bare, "hasty": partial(_ours, _HASTY)}
    contestants = {OURS: _ours} | {name: others[name] for name in names}
    p99_ms: dict[tuple[str, int], list[float]] = {}
    p50_ms: dict[tuple[str, int], list[float]] = {}
    for number in range(1, rounds + 1):
        for name, contestant in contestants.items():
            async with contestant() as (kafka, ws_url, token):
                for rate in RATES:
                    found = await _measured(kafka, ws_url, token, _Load(rate, seconds, f"{seed}-{number}-{rate}"))
                    p99_ms.setdefault((name, rate), []).append(percentile(found, 0.99))
                    p50_ms.setdefault((name, rate), []).append(percentile(found, 0.5))
                    say(f"round {number}: {name} at {rate:,} a second: p99 {p99_ms[name, rate][-1]:.1f} ms")
    paired = {
        f"{name} at {rate}": [
            ours / theirs for ours, theirs in zip(p99_ms[OURS, rate], p99_ms[name, rate], strict=True)
        ]
        for name in names
        for rate in RATES
    }
    return SuiteReport(
        "e2e",
        {name: round(median(ratios), 3) for name, ratios in paired.items()},
        {name: (round(min(ratios), 3), round(max(ratios), 3)) for name, ratios in paired.items()},
        {},
        {},
        [],
        {f"{name} p50 ms at {rate}": median(found) for (name, rate), found in p50_ms.items()}
        | {f"{name} p99 ms at {rate}": median(found) for (name, rate), found in p99_ms.items()},
    )


Reached = AsyncIterator[tuple[str, str, str]]
"""Kafka, the WebSocket's address, and the token."""


@asynccontextmanager
async def _ours(env: Mapping[str, str] | None = None) -> Reached:
    with (
        tempfile.TemporaryDirectory(prefix="dataforge-bench-") as folder,
        Stack.start(Path(folder), [SALES], tied=True, env=env) as stack,
    ):
        reach = stack.endpoints()
        yield reach.kafka, reach.ws_url, reach.api_token


@asynccontextmanager
async def _bare() -> Reached:
    with servers() as (reach, _):
        await ensure_topics(reach.kafka, [TopicSpec(_TOPIC, PARTITIONS)])
        claims = PortClaims()
        port = claims.claim({"relay": 0})["relay"]
        arguments = (reach.kafka, _TOPIC, PARTITIONS, reach.redis_url, port)
        command = [sys.executable, str(CONTESTANTS / "relay.py"), *map(str, arguments)]
        process = await asyncio.create_subprocess_exec(*command, env=dict(os.environ))
        try:
            await _listening(port)
            yield reach.kafka, f"ws://127.0.0.1:{port}", ""
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
            claims.release()


async def _listening(port: int) -> None:
    deadline_s = time.monotonic() + _READY_S
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            if time.monotonic() > deadline_s:
                raise StackError(f"nobody listens on port {port} after {_READY_S:.0f} s") from None
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return


class _Load:
    """Events that happen now, a hundred times a second some of them."""

    def __init__(self, rate: int, seconds: float, name: str) -> None:
        """`name`: of no other load, for the events' ids."""
        self.seconds, self._name, self._each = seconds, name, round(rate * _TICK_S)
        self._chosen = np.random.default_rng(crc32(name.encode()))

    def tick(self, number: int) -> dict[int, list[Produced]]:
        """Partition -> records. Few go to one partition, as a producer that waits for more would send them."""
        first = number % PARTITIONS
        partitions = [(first + n) % PARTITIONS for n in range(PARTITIONS if self._each >= 50 else 1)]
        at, found = time.time_ns() // 1_000_000, dict[int, list[Produced]]()
        for n, partition in enumerate(partitions):
            count = (self._each + n) // len(partitions)
            categories = self._chosen.integers(0, _CATEGORIES, count).tolist()
            found[partition] = [
                (
                    b"%d" % partition,
                    b'{"id":"%b-%d-%d-%d","at":%d,"store":%d,"category":"category %02d","amount":100,"quantity":1}'
                    % (self._name.encode(), number, partition, n, at, partition, category),
                    [],
                )
                for n, category in enumerate(categories)
            ]
        return found


async def _measured(kafka: str, ws_url: str, token: str, load: _Load) -> list[float]:
    """Milliseconds from produce to the first frame that covers an event, of each."""
    question = {"domain": "sales", "metric": "revenue", "by": ["category"], "window": "10s"}
    producer = BatchProducer(kafka)
    await producer.start()
    try:
        async with watching(ws_url, token, **question) as coverage:
            sent = await _sent(producer, load)
            await coverage.reached({p: max(s.last for s in sent if s.partition == p) + 1 for p in range(PARTITIONS)})
            return _latencies(coverage, sent)
    finally:
        await producer.stop()


async def _sent(producer: BatchProducer, load: _Load) -> list[Sent]:
    async def send(partition: int, records: list[Produced], at_s: float) -> Sent:
        return Sent(partition, await producer.send(_TOPIC, partition, records), len(records), at_s)

    began_s, tasks = time.monotonic(), list[asyncio.Task[Sent]]()
    for number in range(round((load.seconds + _WARM_UP_S) / _TICK_S)):
        await asyncio.sleep(began_s + number * _TICK_S - time.monotonic())
        at_s = time.monotonic()
        tasks += [asyncio.create_task(send(p, records, at_s)) for p, records in load.tick(number).items()]
    return await asyncio.gather(*tasks)


def _latencies(coverage: Coverage, sent: Sequence[Sent]) -> list[float]:
    from_s = min(s.at_s for s in sent) + _WARM_UP_S
    return coverage.latencies_ms(s for s in sent if s.at_s >= from_s)
