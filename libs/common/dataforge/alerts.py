"""Alerts: what a person should know and can do something about, on the topic `alerts.v1`.

*Source*: docs/specs/alerts.md.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol

import msgspec

from dataforge.errors import Fatal, Transient

TOPIC = "alerts.v1"
"""One partition, so that all alerts have one order."""

Severity = Literal["info", "warning", "critical"]
"""critical: something stands still, or is wrong, until somebody acts."""


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something began to be so (`raised`) or ended (`cleared`)."""

    kind: str
    """What it is about, in the past tense or as a noun: `topic_paused`, `ledger_imbalance`."""
    severity: Severity = "warning"
    state: Literal["raised", "cleared"] = "raised"
    at_ms: int
    """When it became so, ms since the epoch. A repeat of the same alert has the same."""
    message: str
    """What is so, in a sentence with its numbers."""
    what_to_do: str
    """The next step of whoever reads it, as a sentence or a command."""
    domain: str | None = None
    topic: str | None = None
    partition: int | None = None
    pipeline: str | None = None
    details: dict[str, Any] = {}
    """The numbers of the message, for machines. Plain JSON values."""

    @property
    def key(self) -> str:
        """The same for all alerts on one state of affairs: key of the record, and what consumers deduplicate by."""
        subject = (self.domain, self.topic, self.partition, self.pipeline)
        return "/".join([self.kind, *(str(part) for part in subject if part is not None)])

    def cleared(self, at_ms: int, message: str) -> "Alert":
        """The end of this one. It must be later: where two alerts of a key differ, the later one holds."""
        changed = {"state": "cleared", "severity": "info", "what_to_do": "nothing", "message": message}
        return msgspec.structs.replace(self, at_ms=max(at_ms, self.at_ms + 1), **changed)


_decoder = msgspec.json.Decoder(Alert)


def encode(alert: Alert) -> bytes:
    return msgspec.json.encode(alert)


def decode(value: bytes) -> Alert:
    """Fields of a later version are ignored. *Raises* `msgspec.DecodeError` where it is no alert."""
    return _decoder.decode(value)


def current(alerts: Iterable[Alert]) -> dict[str, Alert]:
    """Key -> what holds now, repeats and stragglers dropped. Fed in the order of the topic."""
    latest: dict[str, Alert] = {}
    for alert in alerts:
        known = latest.get(alert.key)
        if known is None or alert.at_ms > known.at_ms:
            latest[alert.key] = alert
    return latest


class Producer(Protocol):
    """What `dataforge.stream.producer.BatchProducer` is."""

    async def send(
        self, topic: str, partition: int, records: Iterable[tuple[bytes, bytes, Sequence[tuple[str, bytes]]]]
    ) -> int | None: ...


class AlertSink:
    """Writes alerts.

    *Guarantees*: at least once: an alert whose `send` returned is in the log. Whoever must not lose one sends it
    again, unchanged, until that is so: consumers drop repeats.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    async def send(self, alert: Alert) -> None:
        """*Raises* `Transient` where it may not have been written: send it again."""
        try:
            await self._producer.send(TOPIC, 0, [(alert.key.encode(), encode(alert), [])])
        except Fatal as error:
            raise Transient(f"the alert {alert.key} may not have been written: {error}", 1.0) from error
