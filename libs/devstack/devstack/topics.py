"""The topics of a stack: what its domains need, plus the platform's own."""

from collections.abc import Sequence
from pathlib import Path

from dataforge import alerts, control, corrections
from dataforge.contracts.model import Domain
from dataforge.errors import DataForgeError
from dataforge.stream.records import JUDGED_MAX_BYTES, RAW_MAX_BYTES
from dataforge.stream.topics import TopicSpec, ensure_topics

from devstack.errors import StackError

QUARANTINE_MAX_BYTES = JUDGED_MAX_BYTES + 64 * 1024
"""A judged record and where it came from."""
_MONTH_MS = 30 * 24 * 3600 * 1000
_FOR_EVER = -1


def of_domains(folders: Sequence[str]) -> list[TopicSpec]:
    """*Raises* `DataForgeError` where a domain folder is wrong."""
    # imported late: the commands that need no domain start without its validators
    from dataforge.contracts.load import load_domains

    return [spec for domain in load_domains([Path(f) for f in folders]) for spec in of_domain(domain)]


def of_domain(domain: Domain) -> list[TopicSpec]:
    """Each copy of a record carries more headers than the one before, so its topic takes a little more."""
    sizes = {"raw_topic": RAW_MAX_BYTES, "judged_topic": JUDGED_MAX_BYTES, "quarantine_topic": QUARANTINE_MAX_BYTES}
    return [
        TopicSpec(getattr(event.contract, kind), domain.partitions, max_message_bytes=size)
        for event in domain.events
        for kind, size in sizes.items()
    ]


def platform() -> list[TopicSpec]:
    kept = {alerts.TOPIC: _MONTH_MS, corrections.TOPIC: _MONTH_MS, control.TOPIC: _FOR_EVER}
    return [TopicSpec(name, 1, retention_ms=retention_ms) for name, retention_ms in kept.items()]


async def ensure(bootstrap: str, specs: Sequence[TopicSpec]) -> None:
    """Create what is missing; what exists keeps its settings. *Raises* `StackError`."""
    try:
        await ensure_topics(bootstrap, specs)
    except DataForgeError as error:
        raise StackError(f"topics: {error}") from error
