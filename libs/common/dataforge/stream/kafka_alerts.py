"""Alerts written by a producer of their own: one that fails must not stop what else a process writes."""

import asyncio

from dataforge.alerts import Alert, AlertSink
from dataforge.errors import Transient
from dataforge.stream.producer import BatchProducer


class KafkaAlerts:
    """An `AlertSink` that connects when it is first asked, and anew after a failure. Close it at the end."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._producer: BatchProducer | None = None
        self._sending = asyncio.Lock()

    async def send(self, alert: Alert) -> None:
        """*Raises* `Transient`: send it again."""
        async with self._sending:
            if self._producer is None:
                producer = BatchProducer(self._bootstrap, client_id="dataforge-alerts")
                await producer.start()
                self._producer = producer
            try:
                await AlertSink(self._producer).send(alert)
            except Transient:
                await self.close()  # after a failed send the sequence of an idempotent producer is broken
                raise

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()
