"""The alerts topic as a book: what it says now, and further entries."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from dataforge.alerts import TOPIC, Alert, current, decode
from dataforge.errors import Transient
from dataforge.stream.kafka_alerts import KafkaAlerts
from dataforge.stream.range_reader import RangeReader
from dataforge.stream.records import TopicPartition

_TP = TopicPartition(TOPIC, 0)
_ANSWER_S = 10.0


class KafkaBook:
    """Reads on from where it read last; connects when it is first asked. Close it at the end."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._known: dict[str, Alert] = {}
        self._next = 0
        self._alerts = KafkaAlerts(bootstrap)

    async def known(self) -> Mapping[str, Alert]:
        """*Raises* `Transient`."""
        try:
            async with asyncio.timeout(_ANSWER_S), RangeReader(self._bootstrap) as reader:
                end = (await reader.end_offsets([_TP]))[_TP]
                if end < self._next:
                    self._known, self._next = {}, 0  # the topic was made anew
                start = max(self._next, (await reader.begin_offsets([_TP]))[_TP])
                async for records in reader.read(_TP, start, end):
                    for record in records:
                        # Not ours to judge: whoever reads alerts skips what is none.
                        with suppress(msgspec.DecodeError):
                            self._known = current([*self._known.values(), decode(record.value or b"")])
                self._next = end
        except TimeoutError as error:
            raise Transient(f"Kafka does not read {TOPIC}") from error
        return self._known

    async def send(self, alert: Alert) -> None:
        """*Raises* `Transient`: send it again."""
        await self._alerts.send(alert)

    async def close(self) -> None:
        await self._alerts.close()
