"""A topic deleted and created again under its name: another log, which no worker may take for the old one.

It ends the work on that topic until an operator decides, so it is done once, when everything has been compared.
"""

import asyncio
import random
import re
import signal
import time
from collections.abc import Set
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from devstack.chaos.fault import Evidence, NotInForce, Stage
from devstack.chaos.faults.processes import WORKERS, instances_of, running, send
from devstack.oracle.landed import Bucket, Landing
from devstack.oracle.log import end_offsets

_RECREATED_S, _REFUSED_S = 30.0, 90.0
_STRAY = b'{"event_id": "of-another-log"}'
_PER_PARTITION = 3
_REFUSED = re.compile(r"CRITICAL.*(recreated|replaced)")


class Recreated:
    """The raw topic (landing-worker and quality-worker must refuse) or the judged one (the aggregator, too)."""

    kind = "topic_recreated"

    def __init__(self, judged: bool) -> None:
        self._judged = judged
        self.victim = "judged topic" if judged else "raw topic"
        self.evidence: Evidence = {}
        self._logs_before: dict[str, int] = {}
        self._landed_before: dict[int, str] = {}

    def _topic(self, stage: Stage) -> str:
        return stage.judged_topic if self._judged else stage.raw_topic

    async def inject(self, stage: Stage) -> None:
        topic = self._topic(stage)
        self._landed_before = await _landed(stage, topic)
        for worker in WORKERS:
            for name in instances_of(stage, worker):
                self._logs_before[name] = stage.stack.paths.log(name).stat().st_size
        partitions = len(await end_offsets(stage.direct.kafka, topic))
        await _recreate(stage.direct.kafka, topic, partitions)
        async with AIOKafkaProducer(bootstrap_servers=stage.direct.kafka, acks="all") as producer:
            for partition in range(partitions):
                for _ in range(_PER_PARTITION):
                    await producer.send_and_wait(topic, _STRAY, partition=partition)
        self.evidence = {"topic": topic, "partitions": partitions, "stray_records": partitions * _PER_PARTITION}

    async def heal(self, stage: Stage) -> None:
        """There is nothing to heal it with: the old log is gone."""

    async def check(self, stage: Stage) -> list[str]:
        """What is wrong afterwards: workers that went on, or something of the new log in the old one's place."""
        topic = self._topic(stage)
        readers = WORKERS if self._judged else ("landing-worker", "quality-worker")
        waiting = {name for worker in readers for name in instances_of(stage, worker)}
        refusals: dict[str, str] = {}
        deadline = time.monotonic() + _REFUSED_S
        while waiting - refusals.keys() and time.monotonic() < deadline:
            refusals |= {name: line for name in waiting if (line := self._refusal(stage, name, topic))}
            if time.monotonic() > deadline - _REFUSED_S / 2 and "started_again" not in self.evidence:
                self.evidence["started_again"] = self._start_again(stage, waiting - refusals.keys())
            await asyncio.sleep(0.5)
        self.evidence["refusals"] = refusals
        silent = {worker for worker in readers if not any(name in refusals for name in instances_of(stage, worker))}
        problems = [f"{worker} did not leave because of the recreated {topic}" for worker in sorted(silent)]
        landed = await _landed(stage, topic)
        if landed != self._landed_before:
            problems.append(f"the recreated {topic} was landed over the old one: {self._landed_before} became {landed}")
        return problems

    def _start_again(self, stage: Stage, names: Set[str]) -> list[str]:
        """One whose group shared out the partitions while there was no topic has none of it to refuse yet."""
        for name in names:
            with suppress(NotInForce):
                send(running(stage, name), signal.SIGTERM)
        return sorted(names)

    def _refusal(self, stage: Stage, name: str, topic: str) -> str:
        """The line of its log that names the topic and calls it replaced, written since; empty where there is none."""
        with stage.stack.paths.log(name).open("rb") as log:
            log.seek(self._logs_before.get(name, 0))
            said = (line.decode("utf-8", "replace").strip() for line in log)
            return next((line[:400] for line in said if topic in line and _REFUSED.search(line)), "")


async def _recreate(bootstrap: str, topic: str, partitions: int) -> None:
    """*Raises* `NotInForce` where Kafka does not do it in time."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    deadline = time.monotonic() + _RECREATED_S
    try:
        await admin.delete_topics([topic])
        while True:
            new = NewTopic(topic, partitions, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})
            answer: Any = await admin.create_topics([new])
            if not any(code for _, code, *_ in answer.topic_errors):
                return
            if time.monotonic() > deadline:
                raise NotInForce(f"{topic} was deleted and could not be created again: {answer}")
            await asyncio.sleep(0.2)
    except KafkaError as error:
        raise NotInForce(f"{topic} could not be recreated: {error!r}") from error
    finally:
        await admin.close()


async def _landed(stage: Stage, topic: str) -> dict[int, str]:
    """Partition -> the id of the log that its newest object is of."""
    footers = await Landing(Bucket.of(stage.direct), topic).last_footers()
    return {p: str(footer["topic_id"]) for p, footer in footers.items()}


def draw(chosen: random.Random) -> Recreated:
    return Recreated(judged=chosen.random() < 0.5)
