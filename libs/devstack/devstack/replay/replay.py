"""One pass over the purchases: plan, encode, send at the right moment, write down what was sent."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from dataforge.runtime.tracing import produce_span, sampled
from dataforge.stream.judged import TRACEPARENT

from devstack.errors import StackError
from devstack.replay import timeline as timelines
from devstack.replay.encode import encode, encode_malformed, event_ids, keys
from devstack.replay.malformed import event_ms_of
from devstack.replay.manifest import Manifest
from devstack.replay.plan import DUPLICATE, KIND_NAMES, MALFORMED, Faults, Horizons, Plan, plan
from devstack.replay.purchases import Column, Purchases
from devstack.replay.send import NO_HEADERS, Batch, Headers, Outgoing, Sender
from devstack.replay.timeline import Timeline

TOPIC = "raw.retail.purchase.v1"
CHUNK = 10_000
TICK_S = 0.05


@dataclass(frozen=True, slots=True)
class Options:
    """How to replay. At most one of `rate` (events/s) and `speed` (times source time); neither: at once."""

    rate: float | None = None
    speed: float | None = None
    faults: Faults = field(default_factory=Faults)
    seed: int = 1
    pass_: int = 1
    """Part of every event id: the same pass again is a repeat, another pass is new events."""
    trace_ratio: float = 0.0

    def timeline(self, purchases: Purchases) -> Timeline:
        if self.rate is not None:
            return timelines.at_rate(len(purchases), self.rate)
        if self.speed is not None:
            return timelines.at_speed(purchases.bought_ms, self.speed)
        return timelines.at_once(len(purchases))


@dataclass(frozen=True, slots=True)
class Replayed:
    sent: int
    """Records: the real events plus duplicates plus malformed ones."""
    elapsed_s: float
    """From the first record handed over to the last one acknowledged."""


def partition_of(household_id: Column, partitions: int) -> Column:
    """Where Kafka's ordinary partitioner (murmur2) sends each household's key."""
    unique, inverse = np.unique(household_id, return_inverse=True)
    choose, every = DefaultPartitioner(), list(range(partitions))
    return np.array([choose(key, every, every) for key in keys(unique)], dtype=np.int64)[inverse]


def plan_of(purchases: Purchases, options: Options, partitions: int, horizons: Horizons) -> tuple[Timeline, Plan]:
    timeline = options.timeline(purchases)
    where = partition_of(purchases.household_id, partitions)
    return timeline, plan(timeline, where, purchases.ordinary, partitions, options.faults, horizons, options.seed)


async def partition_count(producer: AIOKafkaProducer, topic: str) -> int:
    """*Raises* StackError where the topic does not exist."""
    metadata = await producer.client.fetch_all_metadata()
    found = metadata.partitions_for_topic(topic)
    if not found:
        raise StackError(f"topic {topic} does not exist: start the stack first (`dataforge up`)")
    return len(found)


async def replay(
    producer: AIOKafkaProducer,
    purchases: Purchases,
    options: Options,
    horizons: Horizons,
    *,
    topic: str = TOPIC,
    manifest: Manifest | None = None,
    on_sent: Callable[[int], Any] = lambda _: None,
    on_batches: Callable[[float, list[Batch]], Any] = lambda *_: None,
    enough: Callable[[], bool] = lambda: False,
) -> Replayed:
    """Send every purchase once, and the planned faults. Returns when everything is acknowledged.

    `enough` is asked before each chunk, and ends the replay early.
    `on_batches` gets the monotonic instant at which a chunk was handed to the producer, and its batches.

    *Raises* StackError (no such topic), KafkaError (a send failed; what is in the log is a prefix per partition).
    """
    partitions = await partition_count(producer, topic)
    timeline, todo = plan_of(purchases, options, partitions, horizons)
    sender = Sender(producer, topic)
    started = time.monotonic()
    origin_ms = timeline.origin_ms(time.time_ns() // 1_000_000)
    at = 0
    while at < len(todo) and not enough():
        end = min(at + CHUNK, len(todo))
        if timeline.paced:
            end = min(await _due(todo, at, origin_ms), end)
        chunk = records(purchases, todo, slice(at, end), origin_ms, options, manifest, topic)
        handed_over_s = time.monotonic()
        on_batches(handed_over_s, await sender.send(chunk))
        on_sent(end - at)
        at = end
        await asyncio.sleep(0)
    await sender.flush()
    return Replayed(at, time.monotonic() - started)


async def _due(todo: Plan, at: int, origin_ms: int) -> int:
    """Wait for the next planned instant; returns the end of what is due by then."""
    while True:
        now_ms = time.time_ns() // 1_000_000 - origin_ms
        end = int(np.searchsorted(todo.send_ms, now_ms, side="right"))
        if end > at:
            return end
        await asyncio.sleep(max(TICK_S, (int(todo.send_ms[at]) - now_ms) / 1000))


def records(
    purchases: Purchases,
    todo: Plan,
    part: slice,
    origin_ms: int,
    options: Options,
    manifest: Manifest | None = None,
    topic: str = TOPIC,
) -> list[Outgoing]:
    """The records of a part of a plan, written down in `manifest` as they are made."""
    index, kind, partition = todo.index[part], todo.kind[part], todo.partition[part]
    event_ms = todo.event_ms[part] + origin_ms
    values: list[bytes | None] = [*encode(purchases, index, event_ms, options.pass_)]
    record_keys: list[bytes | None] = [*keys(purchases.household_id[index])]
    bad = np.flatnonzero(kind >= MALFORMED)
    made = encode_malformed(purchases, index[bad], kind[bad], event_ms[bad], bad + part.start, options.pass_)
    for i, value in zip(bad.tolist(), made, strict=True):
        name = KIND_NAMES[kind[i]]
        values[i] = value
        event_ms[i] = event_ms_of(name, int(event_ms[i]))
        if name == "null_key":
            record_keys[i] = None
    if manifest is not None:
        manifest.add(partition, options.pass_, purchases.row[index], kind, event_ms, values)
    headers = _headers(purchases, index, kind, options, topic)
    places = partition.tolist()
    return [
        Outgoing(p, k, v, headers.get(i, NO_HEADERS))
        for i, (p, k, v) in enumerate(zip(places, record_keys, values, strict=True))
    ]


def _headers(purchases: Purchases, index: Column, kind: Column, options: Options, topic: str) -> dict[int, Headers]:
    """Position -> trace headers of the events that are traced: a choice by event id, the same everywhere."""
    if not options.trace_ratio:
        return {}
    return {
        i: [(TRACEPARENT, produce_span(event_id, topic))]
        for i, event_id in enumerate(event_ids(purchases, index, options.pass_))
        if kind[i] < DUPLICATE and sampled(event_id, options.trace_ratio)
    }
