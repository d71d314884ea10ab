"""The topics of a stack: what its domains need, plus the platform's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from dataforge.contracts.model import Domain

from devstack.errors import StackError

RAW_MAX_BYTES = 8 * 1024 * 1024 + 64 * 1024
"""A value of 8 MiB with its key and headers."""
_STAMP_BYTES = 64 * 1024
_WEEK_MS = 7 * 24 * 3600 * 1000
_MONTH_MS = 30 * 24 * 3600 * 1000


class TopicSpec(NamedTuple):
    name: str
    partitions: int
    config: dict[str, str]


def of_domains(folders: Sequence[str]) -> list[TopicSpec]:
    """*Raises* `StackError` where a domain folder is wrong."""
    from dataforge.contracts.load import load_domains

    return [spec for domain in load_domains([Path(f) for f in folders]) for spec in of_domain(domain)] + platform()


def of_domain(domain: Domain) -> list[TopicSpec]:
    """Each copy of a record carries more headers than the one before, so its topic takes a little more."""
    return [
        TopicSpec(name, domain.partitions, _config(RAW_MAX_BYTES + copies * _STAMP_BYTES, _WEEK_MS))
        for event in domain.events
        for copies, name in enumerate(
            (event.contract.raw_topic, event.contract.judged_topic, event.contract.quarantine_topic)
        )
    ]


def platform() -> list[TopicSpec]:
    return [TopicSpec(name, 1, _config(1024 * 1024, _MONTH_MS)) for name in ("alerts.v1", "corrections.v1")]


def _config(max_bytes: int, retention_ms: int) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(max_bytes),
        "retention.ms": str(retention_ms),
        "unclean.leader.election.enable": "false",
    }


async def ensure(bootstrap: str, specs: Sequence[TopicSpec]) -> None:
    """Create what is missing; what exists is left as it is. *Raises* `StackError`."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        existing = set(await admin.list_topics())
        new = [NewTopic(s.name, s.partitions, 1, topic_configs=s.config) for s in specs if s.name not in existing]
        if new:
            answer: Any = await admin.create_topics(new)
            for name, code, *text in answer.topic_errors:
                if code not in (0, TopicAlreadyExistsError.errno):
                    raise StackError(f"topic {name} could not be created: {for_code(code).__name__} {text}")
    except KafkaError as error:
        raise StackError(f"topics could not be created: {error!r}") from error
    finally:
        await admin.close()
