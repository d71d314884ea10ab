"""The batch transport beside a bare aiokafka loop: same topic, same decode and sum, interleaved rounds."""

import asyncio
import json
import os
import sys
from pathlib import Path
from statistics import median
from uuid import uuid4

import pytest

from dataforge.stream.producer import BatchProducer
from dataforge.stream.topics import TopicSpec, ensure_topics

PARTITIONS, RECORDS, ROUNDS = 4, 400_000, 3
LOOP = Path(__file__).with_name("reading_loop.py")
LEAST = 0.75
"""Of the bare loop, by CPU time; about 0.9 is seen on a quiet machine, and a shared one shall not fail."""


async def fill(kafka: str, topic: str) -> None:
    await ensure_topics(kafka, [TopicSpec(topic, PARTITIONS)])
    producer = BatchProducer(kafka)
    await producer.start()
    pad = "x" * 150
    events = (b'{"store":%d,"value":%d.5,"pad":"%s"}' % (i % 457, i, pad.encode()) for i in range(RECORDS))
    for partition in range(PARTITIONS):
        await producer.send(topic, partition, [(None, next(events), ()) for _ in range(RECORDS // PARTITIONS)])
    await producer.stop()


async def measure(kafka: str, topic: str, kind: str) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, LOOP, kind, topic, str(PARTITIONS), str(RECORDS)),
        env=os.environ | {"DATAFORGE_KAFKA": kafka, "DATAFORGE_LOG_LEVEL": "ERROR"},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    result = json.loads(out)
    assert result["records"] == RECORDS
    return result


@pytest.mark.integration
@pytest.mark.slow
async def test_batches_cost_little_more_than_a_bare_loop(kafka: str) -> None:
    topic = f"speed.{uuid4().hex[:8]}"
    await fill(kafka, topic)
    seen: dict[str, list[dict[str, float]]] = {"bare": [], "app": []}
    for _ in range(ROUNDS):
        for kind, results in seen.items():
            results.append(await measure(kafka, topic, kind))
    per_s = {kind: RECORDS / median(r["s"] for r in results) for kind, results in seen.items()}
    per_cpu_s = {kind: RECORDS / median(r["cpu_s"] for r in results) for kind, results in seen.items()}
    for name, rates in (("second", per_s), ("CPU second", per_cpu_s)):
        ratio = rates["app"] / rates["bare"]
        print(f"per {name}: bare {rates['bare']:,.0f}, app {rates['app']:,.0f}: {ratio:.2f}")  # noqa: T201
    assert per_cpu_s["app"] / per_cpu_s["bare"] >= LEAST
