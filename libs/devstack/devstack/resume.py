"""Lifts the pause of a topic."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from dataforge.alerts import Alert
from dataforge.control import Paused, Resumed, alert_of
from dataforge.errors import Transient
from dataforge.stream.control import Control, ControlTopic
from dataforge.stream.kafka_alerts import KafkaAlerts
from dataforge.stream.producer import BatchProducer
from dataforge.stream.topics import end_offsets, topic_partitions

from devstack.errors import UsageError

_ALERT_S = 15


class Lifted(msgspec.Struct, frozen=True):
    """What was lifted, and what is let through."""

    topic: str
    paused_at_ms: int
    message: str
    """Why it was paused."""
    through: dict[int, int]
    """Partition -> raw offset: records below it are not held again. Empty: everything is measured."""


async def resume(bootstrap: str, topic: str, *, through: bool) -> Lifted:
    """Lift it, and clear its alert. *Raises* `UsageError` where the topic is not paused, `Transient`, `Fatal`."""
    async with _control(bootstrap) as (control, alerts):
        if (pause := control.pause_of(topic)) is None:
            raise UsageError(f"{topic} is not paused; {_those_that_are(control)}")
        ends: dict[int, int] = {}
        if through:
            partitions = [tp for tp in await topic_partitions(bootstrap, topic) if tp.topic == topic]
            ends = {tp.partition: end for tp, end in (await end_offsets(bootstrap, partitions)).items()}
        now_ms = time.time_ns() // 1_000_000
        await control.append(Resumed(topic=topic, at_ms=now_ms, through=ends))
        await _send(alerts, alert_of(pause).cleared(now_ms, f"{topic} was resumed"))
    return Lifted(topic, pause.at_ms, pause.message, ends)


async def paused(bootstrap: str) -> list[Paused]:
    """Every topic that is paused now."""
    async with _control(bootstrap) as (control, _):
        return control.paused


@retry(retry=retry_if_exception_type(Transient), stop=stop_after_delay(_ALERT_S), wait=wait_fixed(0.5), reraise=True)
async def _send(alerts: KafkaAlerts, alert: Alert) -> None:
    await alerts.send(alert)


@asynccontextmanager
async def _control(bootstrap: str) -> AsyncIterator[tuple[Control, KafkaAlerts]]:
    producer, topic = BatchProducer(bootstrap, client_id="dataforge-resume"), ControlTopic(bootstrap)
    control, alerts = Control(producer, topic.read_from), KafkaAlerts(bootstrap)
    await producer.start()
    try:
        try:
            await topic.open(control)
            yield control, alerts
        finally:
            await alerts.close()
            await topic.close()
    finally:
        await producer.stop()


def _those_that_are(control: Control) -> str:
    names = sorted(pause.topic for pause in control.paused)
    return f"paused: {', '.join(names)}" if names else "no topic is"
