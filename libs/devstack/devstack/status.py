"""What runs, where, since when, how large, and how far behind: what `dataforge status` shows."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from devstack.model import Endpoints, Restart, Running, State
from devstack.program import NotReady, http_ok

_LAG_TIMEOUT_S = 10.0


class ProgramStatus(msgspec.Struct):
    name: str
    kind: str
    state: str
    pid: int
    ports: dict[str, int]
    uptime_s: float
    memory_mib: float
    restarts: int
    detail: str
    log: str


class Lag(msgspec.Struct):
    """How far a consumer group's committed offset is behind the log's end. Shown for people, read by nobody else."""

    group: str
    topic: str
    partition: int
    committed: int
    end: int
    lag: int


class StackStatus(msgspec.Struct):
    phase: str
    data: str
    supervisor_pid: int
    domains: tuple[str, ...]
    endpoints: Endpoints
    programs: list[ProgramStatus]
    restarts: list[Restart]
    lag: list[Lag]
    error: str = ""


async def observe(state: State, data: Path) -> StackStatus:
    """Ask everything that runs, now."""
    programs = await asyncio.gather(*(_program(p) for p in state.programs))
    kafka = next((p for p in programs if p.name == "kafka" and p.state == "ready"), None)
    lag: list[Lag] = []
    error = state.error
    if kafka is not None:
        try:
            async with asyncio.timeout(_LAG_TIMEOUT_S):
                lag = await _lag(state.endpoints.kafka)
        except (KafkaError, TimeoutError) as failed:
            error = error or f"Kafka did not say how far its readers are: {failed!r}"
    pid = state.supervisor.pid if state.supervisor and state.supervisor.alive() else 0
    phase = state.phase if pid or state.phase == "stopped" else "supervisor gone"
    if phase == "ready" and any(p.state != "ready" for p in programs):
        phase = "degraded"
    return StackStatus(
        phase, str(data), pid, state.domains, state.endpoints, list(programs), state.restarts, lag, error
    )


async def _program(running: Running) -> ProgramStatus:
    process = running.process.process() if running.process else None
    state, detail = running.state if process else "stopped", running.detail
    if process and running.kind == "service" and state == "ready":
        try:
            async with asyncio.timeout(2):
                await http_ok(running.ports["admin"], "/readyz")
        except (NotReady, TimeoutError) as error:
            state, detail = "not ready", str(error) or "no answer within 2 s"
    return ProgramStatus(
        name=running.name,
        kind=running.kind,
        state=state,
        pid=process.pid if process else 0,
        ports=running.ports,
        uptime_s=round(time.time() - process.create_time(), 1) if process else 0.0,
        memory_mib=round(process.memory_info().rss / 2**20, 1) if process else 0.0,
        restarts=running.restarts,
        detail=detail,
        log=running.log,
    )


async def _lag(bootstrap: str) -> list[Lag]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    try:
        await asyncio.gather(admin.start(), reader.start())
        groups = [group for group, _ in await admin.list_consumer_groups()]
        committed = {group: await admin.list_consumer_group_offsets(group) for group in groups}
        partitions = {tp for offsets in committed.values() for tp in offsets}
        ends: Mapping[TopicPartition, int] = await reader.end_offsets(list(partitions)) if partitions else {}
    finally:
        await asyncio.gather(admin.close(), reader.stop())
    return sorted(
        (_lag_of(group, tp, at.offset, ends[tp]) for group, offsets in committed.items() for tp, at in offsets.items()),
        key=lambda lag: (lag.group, lag.topic, lag.partition),
    )


def _lag_of(group: str, tp: Any, committed: int, end: int) -> Lag:
    return Lag(group, tp.topic, tp.partition, committed, end, max(0, end - max(0, committed)))
