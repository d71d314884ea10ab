"""The lake suite: its stream beside a plain Spark stream that reads and parses the same log, in one session.

A seventh of the events is a log of its own, so that what a row costs is seen for a small log and for a large one.
"""

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from dataforge.stream.topics import TopicSpec, ensure_topics

from devstack.bench.contest import OURS, Measured, SuiteReport, report
from devstack.bench.deployed import sales_as, servers
from devstack.bench.logs import fill
from devstack.bench.sales import PARTITIONS, drawn
from devstack.bench.turns import Say
from devstack.errors import StackError
from devstack.lake.jobs import SPARK, environment, jars, python
from devstack.model import Endpoints
from devstack.paths import StackPaths
from devstack.settings import inherited

PLAIN = "plain_spark"
FLAT = "cost of a row, large log by small"
LARGE, SMALL = "large", "small"
_SHARE = 7


async def lake(*, events: int, rounds: int, seed: int, names: Sequence[str], say: Say) -> SuiteReport:
    """*Raises* `StackError` where Spark does."""
    del names  # both are always measured: in turns, in one session
    sizes = {SMALL: events // _SHARE, LARGE: events}
    with servers() as (reach, folder):
        folders = {name: sales_as(name, folder) for name in sizes}
        topics = {name: f"judged.sales.{name}.v1" for name in sizes}
        await ensure_topics(reach.kafka, [TopicSpec(topic, PARTITIONS) for topic in topics.values()])
        for name, topic in topics.items():
            await fill(reach.kafka, topic, drawn(sizes[name], seed).judged)
        say(f"{sizes[LARGE]:,} and {sizes[SMALL]:,} records are there")
        found = await asyncio.to_thread(_measured, reach, folder, list(folders.values()), rounds)
    by_size = dict(zip(sizes, found, strict=True))
    large, small = by_size[LARGE], by_size[SMALL]
    ours, plain = _taken(large["stream"], events), _taken(large["plain"], events)
    few = _taken(small["stream"], sizes[SMALL])
    figures = {FLAT: round(median(one.cost_us for one in ours) / median(one.cost_us for one in few), 3)}
    for name, one in by_size.items():
        merge = one["merge"]
        figures[f"CPU s, MERGE of {merge['records']:,} into {sizes[name]:,}"] = merge["cpu_s"]
    return msgspec.structs.replace(report("lake", {OURS: ours, PLAIN: plain}), figures=figures)


def _measured(reach: Endpoints, folder: Path, domains: Sequence[Path], rounds: int) -> list[dict[str, Any]]:
    env = environment(reach, [], StackPaths(folder), jars(), inherited())
    command = [str(python()), str(SPARK / "bench" / "follow.py"), "--rounds", str(rounds), *map(str, domains)]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise StackError(f"the lake's measurement ended with {ended.returncode}: {ended.stderr[-2000:]}")
    return msgspec.json.decode(ended.stdout)


def _taken(costs: Sequence[Mapping[str, Any]], events: int) -> list[Measured]:
    return [
        Measured(events, one["cpu_s"], one["wall_s"], 0.0, f"{one['records']} records", f"{events} records")
        for one in costs
    ]
