"""The stream suite: the aggregator as it is deployed beside others that count the same sales from the same log.

Every contestant runs alone, from its topic's first record, in rounds that take turns. What its mere start costs is
measured in each round too, over an empty topic, and taken away. One that is slow counts only the first part of the
sales, from a topic that holds no more.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

from dataforge.stream.producer import BatchProducer
from dataforge.stream.topics import TopicSpec, ensure_topics

from devstack.bench.answers import digest
from devstack.bench.contest import OURS, Measured, SuiteReport, report
from devstack.bench.contestants import BENCH, NOTHING, TOPIC, everybody
from devstack.bench.sales import PARTITIONS, Sales, drawn
from devstack.stack import Stack

SHARES = {"bare_aiokafka": 1.0, "stock_faust": 0.05, "quix_streams": 0.05, "bytewax": 0.5, "kafka_streams": 0.5}
"""Who stands beside us, and how much of the sales they count: enough of each for some ten seconds."""

Say = Callable[[str], None]


async def stream(*, events: int, rounds: int, seed: int, names: Sequence[str], say: Say) -> SuiteReport:
    """Beside the `names`d of `SHARES`. *Raises* `StackError` where one of them fails."""
    sales = drawn(events, seed)
    parts = {OURS: sales} | {name: sales.first(round(events * SHARES[name])) for name in names}
    topics = {name: TOPIC if len(part) == events else f"{TOPIC}.{len(part)}" for name, part in parts.items()}
    expected = {name: digest(part.rows()) for name, part in parts.items()}
    taken: dict[str, list[Measured]] = {name: [] for name in parts}
    with (
        tempfile.TemporaryDirectory(prefix="dataforge-bench-") as folder,
        Stack.start(Path(folder), [BENCH / "sales"], services=(), servers=("kafka", "valkey", "s3proxy"), tied=True)
        as stack,
    ):  # fmt: skip
        reach = stack.endpoints()
        contestants = everybody(reach, Path(folder), names)
        await ensure_topics(reach.kafka, [TopicSpec(topic, PARTITIONS) for topic in {NOTHING, *topics.values()}])
        for topic, part in {topics[name]: part for name, part in parts.items()}.items():
            await _fill(reach.kafka, topic, part)
        for number, (name, contestant) in product(range(1, rounds + 1), contestants.items()):
            start, _ = await contestant.run(NOTHING, sales.first(0))
            whole, rows = await contestant.run(topics[name], parts[name])
            measured = Measured(
                len(parts[name]),
                whole.cpu_s - start.cpu_s,
                whole.wall_s - start.wall_s,
                whole.peak_mib,
                digest(rows),
                expected[name],
            )
            taken[name].append(measured)
            say(f"round {number}: {name} {measured.events / measured.cpu_s:,.0f} events per CPU-second")
    return report("stream", taken)


async def _fill(kafka: str, topic: str, sales: Sales) -> None:
    producer, now_ms = BatchProducer(kafka), time.time_ns() // 1_000_000
    await producer.start()
    try:
        for partition in range(PARTITIONS):
            await producer.send(topic, partition, sales.judged(partition, now_ms))
    finally:
        await producer.stop()
