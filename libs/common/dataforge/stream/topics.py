"""Topics as things: create and check them, ask for their ids, partitions and ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from dataforge.errors import Fatal, Transient
from dataforge.stream.range_reader import RangeReader
from dataforge.stream.records import RAW_MAX_BYTES, TopicPartition

_VISIBLE_S = 10


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as this platform needs it. Never compacted; timestamps are the log's own (DESIGN R5)."""

    name: str
    partitions: int
    max_message_bytes: int = RAW_MAX_BYTES
    retention_ms: int = 7 * 24 * 3600 * 1000
    replication: int = -1
    """-1: the broker's default."""

    @property
    def config(self) -> Mapping[str, str]:
        return {
            "cleanup.policy": "delete",
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(self.max_message_bytes),
            "retention.ms": str(self.retention_ms),
            "unclean.leader.election.enable": "false",
        }


async def ensure_topics(bootstrap: str, specs: Iterable[TopicSpec]) -> list[str]:
    """Create the missing topics; returns their names.

    *Raises* `Fatal` where an existing topic has another number of partitions, `Transient` where Kafka is away.
    """
    wanted = {spec.name: spec for spec in specs}
    async with _admin(bootstrap) as admin:
        missing = sorted(set(wanted) - set(await admin.list_topics()))
        for name in missing:
            spec = wanted[name]
            # The empty assignment says "none"; without it aiokafka refuses replication -1.
            topic = NewTopic(name, spec.partitions, spec.replication, {}, topic_configs=dict(spec.config))
            response = await admin.create_topics([topic])
            _check_created(response)
        found = await _visible(admin, sorted(wanted))
    for name, have in found.items():
        want = wanted[name].partitions
        if have != want:
            raise Fatal(
                f"topic {name} has {have} partitions and its domain says {want}. Set `partitions: {have}` "
                "in the domain, or grow the topics (the judged topic first, then the raw one)"
            )
    return missing


async def _visible(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    """Topic -> partitions, once the broker shows all of them: a created topic is not there at once for everybody.

    *Raises* `Transient` where it does not.
    """
    deadline = time.monotonic() + _VISIBLE_S
    while True:
        listed = set(await admin.list_topics())
        found = {t["topic"]: len(t["partitions"]) for t in await admin.describe_topics(list(names))}
        unseen = [name for name in names if not found.get(name) or name not in listed]
        if not unseen:
            return found
        if time.monotonic() > deadline:
            raise Transient(f"Kafka has created these topics and does not show them: {', '.join(unseen)}")
        await asyncio.sleep(0.05)


def _check_created(response: Any) -> None:
    for name, code, *message in response.topic_errors:
        if code and code != TopicAlreadyExistsError.errno:
            raise Fatal(f"topic {name} could not be created: {for_code(code).__name__} {message[0] if message else ''}")


async def topic_ids(bootstrap: str, names: Sequence[str]) -> dict[str, bytes]:
    """Kafka's id of each topic, 16 bytes: another id is another log (DESIGN R6b).

    *Raises* `Fatal` where a topic does not exist, `Transient` where Kafka is away.
    """
    async with RangeReader(bootstrap) as reader:
        return await reader.topic_ids(names)


async def topic_partitions(bootstrap: str, prefix: str = "") -> list[TopicPartition]:
    """Every partition of the topics whose names begin like this, sorted. *Raises* `Transient` where Kafka is away."""
    async with _admin(bootstrap) as admin:
        names = sorted(name for name in await admin.list_topics() if name.startswith(prefix))
        found = await admin.describe_topics(names) if names else []
    return sorted(TopicPartition(t["topic"], p["partition"]) for t in found for p in t["partitions"])


async def end_offsets(bootstrap: str, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """Where each partition's log ends now (the offset the next record gets). *Raises* `Transient`."""
    async with RangeReader(bootstrap) as reader:
        return await reader.end_offsets(tps)


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id=f"dataforge-admin-{uuid4().hex[:8]}")
    try:
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()
    except KafkaError as error:
        raise Transient(f"Kafka at {bootstrap} did not answer: {error!r}") from error
