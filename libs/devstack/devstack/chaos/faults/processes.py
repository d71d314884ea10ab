"""Faults of processes: killed, stopped for so long that others take over, asked to leave."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

import psutil

from devstack.chaos.fault import Evidence, NotInForce, Stage
from devstack.model import ProgramState
from devstack.processes import ProcessId

WORKERS = ("landing-worker", "quality-worker", "aggregator")
SESSION_TIMEOUT_S = 8
"""After which Kafka takes a silent worker for dead. Longer than a killed one takes to be back on a machine that has
much to do: it comes back to its partitions, and the group shares nothing out for it.
"""
_SCALED_S, _HELD_S, _LEAVING_S, _JOINING_S = 45.0, 30.0, 30.0, 20.0
INSTANCES = 2
"""Of each worker: somebody must be there to take over."""


def worker_instances() -> list[str]:
    return [name for worker in WORKERS for name in (worker, f"{worker}-{INSTANCES}")]


EVERY = (*worker_instances(), "query-api", "ws-gateway", "kafka", "valkey", "s3proxy")


class Kill:
    """SIGKILL, or another signal that ends it; the supervisor starts it again at once."""

    def __init__(self, kind: str, victim: str, number: signal.Signals = signal.SIGKILL) -> None:
        self.kind, self.victim, self._number = kind, victim, number
        self.evidence: Evidence = {"signal": number.name}

    async def inject(self, stage: Stage) -> None:
        """Returns once it has ended: one that still serves while it leaves would seem to be back at once."""
        process, since_s = running(stage, self.victim), time.monotonic()
        send(process, self._number)
        self.evidence["pid"] = process.pid
        try:
            async with asyncio.timeout(_LEAVING_S):
                await gone(process)
        except TimeoutError:
            self.evidence["killed_after_s"] = _LEAVING_S
            with suppress(NotInForce):
                send(process, signal.SIGKILL)
            await gone(process)
        self.evidence["ended_after_s"] = round(time.monotonic() - since_s, 2)

    async def heal(self, stage: Stage) -> None:
        """Nothing is left to be healed: starting it again is the supervisor's work, and part of the recovery."""


class Zombie:
    """SIGSTOP for longer than the session timeout, then SIGCONT: it goes on as if its partitions were still its own."""

    kind = "zombie"

    def __init__(self, victim: str) -> None:
        self.victim = victim
        self.evidence: Evidence = {}
        self._stopped: ProcessId | None = None
        self._since_s = 0.0

    async def inject(self, stage: Stage) -> None:
        process = serving(stage, self.victim)
        send(process, signal.SIGSTOP)
        self._stopped, self._since_s = process, time.monotonic()
        self.evidence["pid"] = process.pid

    async def heal(self, stage: Stage) -> None:
        stopped, self._stopped = self._stopped, None
        if stopped is None:
            return
        found = stopped.process()
        self.evidence["stopped_s"] = round(time.monotonic() - self._since_s, 1)
        # Another fault may have ended it meanwhile.
        self.evidence["effects"] = int(found is not None and found.status() == psutil.STATUS_STOPPED)
        if found is not None:
            with suppress(NotInForce):
                send(stopped, signal.SIGCONT)


def running(stage: Stage, name: str) -> ProcessId:
    """*Raises* `NotInForce` where it does not run just now: another fault was quicker."""
    return _running(stage, name)[0]


def serving(stage: Stage, name: str) -> ProcessId:
    """As `running`, and it was ready since it started: it has work that can be disturbed. *Raises* `NotInForce`."""
    process, state = _running(stage, name)
    if state != "ready":
        raise NotInForce(f"{name} is only starting at this moment")
    return process


def _running(stage: Stage, name: str) -> tuple[ProcessId, ProgramState]:
    # A program that a rebalance has taken away is not even there.
    for program in stage.stack.state().programs:
        if program.name == name and program.process is not None and program.process.alive():
            return program.process, program.state
    raise NotInForce(f"{name} does not run at this moment")


def send(process: ProcessId, number: signal.Signals) -> None:
    """*Raises* `NotInForce` where it has ended in this very moment."""
    try:
        os.kill(process.pid, number)
    except ProcessLookupError as error:
        raise NotInForce(f"pid {process.pid} has ended") from error


def draw_kill(chosen: random.Random) -> Kill:
    return Kill("kill", chosen.choice(EVERY))


def draw_zombie(chosen: random.Random) -> Zombie:
    return Zombie(chosen.choice(worker_instances()))


def draw_broker_restart(chosen: random.Random) -> Kill:
    return Kill("broker_restart", "kafka", chosen.choice((signal.SIGTERM, signal.SIGKILL)))


async def gone(process: ProcessId) -> None:
    """Until it has ended, which SIGKILL does not do at once."""
    while process.alive():  # noqa: ASYNC110 - the supervisor waits for it, nobody tells us
        await asyncio.sleep(0.01)


async def hold_down(stage: Stage, names: Sequence[str]) -> list[int]:
    """Kill them and keep the supervisor from starting them again; until `Stack.release`. Returns the pids killed."""
    for name in names:
        stage.stack.hold(name)
    killed: list[int] = []
    deadline = time.monotonic() + _HELD_S
    while waiting := set(names) - {p.name for p in stage.stack.state().programs if p.state == "held"}:
        if time.monotonic() > deadline:
            raise NotInForce(f"{', '.join(sorted(waiting))} could not be held down")
        programs = [p for p in stage.stack.state().programs if p.name in waiting]
        for process in (p.process for p in programs if p.process is not None and p.process.alive()):
            with suppress(NotInForce):
                send(process, signal.SIGKILL)
                killed.append(process.pid)
            await gone(process)
        await asyncio.sleep(0.01)
    return killed


def instances_of(stage: Stage, service: str) -> list[str]:
    """Their names, as many as there are just now."""
    programs = [program.name for program in stage.stack.state().programs]
    return [name for name in programs if name == service or name.removeprefix(f"{service}-").isdigit()]


class Rescaled:
    """One instance more, or one less, for a while: the group shares out its partitions twice."""

    kind = "rebalance"

    def __init__(self, worker: str, instances: int) -> None:
        self.victim, self._instances = worker, instances
        self.evidence: Evidence = {}

    async def inject(self, stage: Stage) -> None:
        await self._scale(stage, self._instances)
        self.evidence["instances"] = instances_of(stage, self.victim)

    async def heal(self, stage: Stage) -> None:
        """One that is to be in the group has to have been there: it is waited for."""
        deadline = time.monotonic() + _JOINING_S
        while not self._joined(stage) and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.05)
        self.evidence["effects"] = int(self._joined(stage))
        await self._scale(stage, INSTANCES)

    def _joined(self, stage: Stage) -> bool:
        states = {program.name: program.state for program in stage.stack.state().programs}
        return all(states.get(name) == "ready" for name in self.evidence["instances"][INSTANCES:])

    async def _scale(self, stage: Stage, instances: int) -> None:
        stage.stack.scale(self.victim, instances)
        deadline = time.monotonic() + _SCALED_S
        while len(found := instances_of(stage, self.victim)) != instances:
            if time.monotonic() > deadline:
                raise NotInForce(f"still {len(found)} instances of {self.victim} instead of {instances}")
            await asyncio.sleep(0.05)


def draw_rebalance(chosen: random.Random) -> Rescaled:
    return Rescaled(chosen.choice(WORKERS), INSTANCES + chosen.choice((-1, 1)))
