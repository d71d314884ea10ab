"""Alerts written by a producer of their own: one that fails must not stop what else a process writes."""

import asyncio
import logging

from dataforge.alerts import Alert, AlertSink
from dataforge.errors import Transient
from dataforge.stream.producer import BatchProducer

logger = logging.getLogger(__name__)

SEND_S = 10.0
"""Shorter than anybody's patience: an idempotent producer would try for ever, and hold up whoever alerts."""


class KafkaAlerts:
    """An `AlertSink` that connects when it is first asked, and anew after a failure. Close it at the end."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._producer: BatchProducer | None = None
        self._sending = asyncio.Lock()
        self._stopping: set[asyncio.Future[None]] = set()
        """Producers that failed: they may wait for Kafka for as long as they like."""

    async def send(self, alert: Alert) -> None:
        """Within `SEND_S`. *Raises* `Transient`: send it again."""
        try:
            async with asyncio.timeout(SEND_S), self._sending:
                await self._send(alert)
        except TimeoutError:
            raise Transient(f"the alert {alert.key} may not have been written: Kafka is slow", 1.0) from None

    async def _send(self, alert: Alert) -> None:
        if self._producer is None:
            producer = BatchProducer(self._bootstrap, client_id="dataforge-alerts")
            await producer.start()
            self._producer = producer
        try:
            await AlertSink(self._producer).send(alert)
        except BaseException:
            # After a failed send the sequence of an idempotent producer is broken; after a cancelled one, unknown.
            failed, self._producer = self._producer, None
            self._stopping.add(stopping := asyncio.ensure_future(failed.stop()))
            stopping.add_done_callback(self._stopped)
            raise

    def _stopped(self, stopping: asyncio.Future[None]) -> None:
        self._stopping.discard(stopping)
        if not stopping.cancelled() and (error := stopping.exception()) is not None:
            logger.info("a producer of alerts did not stop in peace: %r", error)

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()
