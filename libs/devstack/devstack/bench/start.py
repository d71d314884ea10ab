"""The start suite: how long until something is there, on a stack of its own each time. All figures are seconds."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import median

import msgspec

from dataforge.state.redis import RedisState
from dataforge.stream.producer import BatchProducer

from devstack import topics
from devstack.bench.contest import SuiteReport
from devstack.bench.contestants import TOPIC
from devstack.bench.deployed import SALES, Deployed, servers
from devstack.bench.logs import Follower, fill
from devstack.bench.rebalance import rebalances
from devstack.bench.sales import PARTITIONS, drawn
from devstack.bench.turns import Say
from devstack.errors import StackError
from devstack.jars import class_path, lock_of
from devstack.latency import watching
from devstack.model import Endpoints, State
from devstack.oracle.landed import Bucket, Landing
from devstack.settings import cache_dir

_WORKERS = ("quality-worker", "aggregator", "landing-worker")
SECONDS = (
    {"up s, warm, to the first KPI": 15.0}
    | {f"{worker} s, to its first batch": 4.0 for worker in _WORKERS}
    | {f"rebalance s, one {change}": 3.0 for change in ("joins", "leaves")}
)
"""Figure -> its goal."""
_RAW, _JUDGED = "raw.sales.sale.v1", TOPIC
_FEW = 1_000
_LOOK_S = 0.01


async def start(*, events: int, rounds: int, seed: int, names: Sequence[str], say: Say) -> SuiteReport:
    """`events` are those that the aggregator holds the ids of when another one joins. *Raises* `StackError`."""
    del names
    found: dict[str, list[float]] = {}

    def saw(name: str, seconds: float) -> None:
        found.setdefault(name, []).append(seconds)
        say(f"{name}: {seconds:.1f}")

    with tempfile.TemporaryDirectory(prefix="dataforge-cold-") as cold:
        saw("up s, cold, to the first KPI", await _up({"DATAFORGE_CACHE": cold}))
    for server in ("kafka", "s3proxy"):  # a machine that has never run them is not warm
        class_path(lock_of(server), cache_dir())
    for _ in range(rounds):
        saw("up s, warm, to the first KPI", await _up({}))
        for worker, seconds in (await _first_batches(seed)).items():
            saw(f"{worker} s, to its first batch", seconds)
    for name, seconds in (await rebalances(events, seed)).items():
        saw(name, seconds)
    return SuiteReport("start", {}, {}, {}, {}, [], {name: median(seconds) for name, seconds in found.items()})


async def _up(env: dict[str, str]) -> float:
    """From `dataforge up` to a row on a WebSocket client's screen."""
    data = Path(tempfile.mkdtemp(prefix="dataforge-bench-"))
    command = [sys.executable, "-m", "devstack"]
    where = ["--data", str(data)]
    try:
        began_s = time.monotonic()
        said = await asyncio.to_thread(
            subprocess.run,
            [*command, "up", "--domain", str(SALES), "--timeout", "600", "--json", *where],
            env={**os.environ, **env},
            capture_output=True,
            check=False,
        )
        if said.returncode:
            raise StackError(f"dataforge up ended with {said.returncode}: {said.stderr.decode()[-2000:]}")
        await _first_row(msgspec.json.decode(said.stdout, type=State).endpoints)
        return time.monotonic() - began_s
    finally:
        ended = await asyncio.to_thread(subprocess.run, [*command, "down", *where], capture_output=True, check=False)
        if ended.returncode:
            raise StackError(f"dataforge down ended with {ended.returncode}: {ended.stderr.decode()[-2000:]}")
        shutil.rmtree(data, ignore_errors=True)


async def _first_row(reach: Endpoints) -> None:
    producer = BatchProducer(reach.kafka)
    await producer.start()
    try:
        question = {"domain": "sales", "metric": "revenue", "by": ["category"], "window": "10s"}
        async with watching(reach.ws_url, reach.api_token, **question) as coverage:
            last = await producer.send(_RAW, 0, islice(drawn(100, 1).raw(0), 1))
            await coverage.reached({0: last + 1})
    finally:
        await producer.stop()


async def _first_batches(seed: int) -> dict[str, float]:
    """Worker -> from the start of its process until its first output."""
    sales = drawn(_FEW, seed)
    with servers() as (reach, _):
        await topics.ensure(reach.kafka, topics.of_domains([str(SALES)]))
        await fill(reach.kafka, _RAW, sales.raw)
        bucket, state, found = Bucket.of(reach), RedisState(reach.redis_url), dict[str, float]()

        async def counted() -> bool:
            await asyncio.sleep(_LOOK_S)
            return any([(await state.head("sales.sale.v1", partition)).next for partition in range(PARTITIONS)])

        try:
            async with Follower(reach.kafka, _JUDGED, 1) as judged:
                found["quality-worker"] = (await Deployed("quality_worker", reach).run(SALES, judged.full)).wall_s
            found["aggregator"] = (await Deployed("aggregator", reach).run(SALES, counted)).wall_s
            async with Landing(bucket, _RAW).following() as ends:

                async def landed() -> bool:
                    await asyncio.sleep(_LOOK_S)
                    return any((await ends(PARTITIONS)).values())

                found["landing-worker"] = (await Deployed("landing_worker", reach).run(SALES, landed)).wall_s
        finally:
            await state.close()
    return found
