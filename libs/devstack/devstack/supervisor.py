"""The supervisor: one process per stack that starts everything, restarts what dies, and writes down what runs.

It is steered by `wanted.json` (looked at every tick) and stopped by SIGTERM. Order: servers, then the topics of
the domains, then services; the other way round on the way down. Run as `python -m devstack.supervisor DATA`.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from dataforge.errors import DataForgeError

from devstack import plan, topics
from devstack.errors import StackError
from devstack.keeper import Keeper
from devstack.model import Endpoints, Phase, Restart, State, Wanted, read_state, read_wanted, write
from devstack.paths import StackPaths
from devstack.ports import PortClaims
from devstack.processes import end_groups, identify
from devstack.program import Program
from devstack.secret import load_or_make
from devstack.settings import cache_dir, inherited

_TICK_S = 0.1
_RETRY_S = 2.0
_RESTARTS_KEPT = 200
log = logging.getLogger("devstack.supervisor")


class Supervisor:
    """*Guarantees*: one per data folder; when `run` returns, none of its processes is left."""

    def __init__(self, paths: StackPaths) -> None:
        self._paths = paths
        self._claims = PortClaims()
        self._stop = asyncio.Event()
        self._servers: dict[str, Keeper] = {}
        self._services: dict[str, Keeper] = {}
        self._secrets = load_or_make(paths.secrets)
        before = read_state(paths.state)
        self._before = before
        self._was_ready = False
        self._state = State(
            "starting", 0, identify(os.getpid()), Endpoints(), (), before.ports if before else {}, [], []
        )

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        with _alone(self._paths.lock):
            self._clear_up_after_a_kill()
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop)
            try:
                await self._follow()
            finally:
                await self._down()

    async def _follow(self) -> None:
        while not self._stop.is_set():
            wanted = read_wanted(self._paths.wanted)
            if wanted is not None and wanted.revision != self._state.revision:
                try:
                    await self._or_stop(self._apply(wanted))
                except Exception as error:  # whoever waits is told, and it is tried again
                    known = isinstance(error, DataForgeError)
                    log.error("%s", error, exc_info=None if known else error)
                    self._state.error = str(error) if known else repr(error)
                    self._publish()
                    await self._or_stop(asyncio.sleep(_RETRY_S))
            await self._or_stop(asyncio.sleep(_TICK_S))

    async def _apply(self, wanted: Wanted) -> None:
        """Bring what runs to what is wanted; what is unchanged goes on undisturbed."""
        log.info("applying revision %d: domains %s", wanted.revision, ", ".join(wanted.domains) or "none")
        self._was_ready = False
        specs = topics.platform() + (topics.of_domains(wanted.domains) if wanted.domains else [])
        ports = self._claim(plan.preferred_ports(wanted, self._state.ports, usual=wanted.usual_ports))
        self._state.endpoints = reach = plan.endpoints(wanted, ports, self._secrets)
        env = inherited()
        servers = plan.servers(
            wanted.servers, self._paths, ports, self._secrets, env, cache_dir(), kafka_proxy=wanted.kafka_proxy
        )
        services = plan.services(wanted, self._paths, ports, reach, env)
        await self._keep(self._servers, servers, "server")
        await asyncio.gather(*(keeper.ready.wait() for keeper in self._servers.values()))
        if reach.kafka:
            await topics.ensure(reach.kafka, specs)
        await self._keep(self._services, services, "service")
        self._state.revision, self._state.domains, self._state.error = wanted.revision, wanted.domains, ""
        self._publish()

    def _claim(self, preferred: dict[str, int]) -> dict[str, int]:
        held = self._claims.names()
        taken = self._claims.claim({name: port for name, port in preferred.items() if name not in held})
        self._state.ports |= taken
        return {name: held.get(name) or taken[name] for name in preferred}

    async def _keep(self, kept: dict[str, Keeper], programs: list[Program], kind: Any) -> None:
        """Stop what is gone or runs otherwise now, then start what is new."""
        by_name = {program.name: program for program in programs}
        leaving = [name for name, keeper in kept.items() if not _same(keeper.program, by_name.get(name))]
        await asyncio.gather(*(kept[name].stop() for name in leaving))
        for name in leaving:
            del kept[name]
        for name, program in by_name.items():
            if name not in kept:
                held = self._paths.hold(name).exists
                kept[name] = Keeper(program, kind, changed=self._publish, restarted=self._restarted, held=held)

    async def _down(self) -> None:
        self._publish("stopping")
        for kept in (self._services, self._servers):
            await asyncio.gather(*(keeper.stop() for keeper in kept.values()))
        self._claims.release()
        self._state.supervisor = None
        self._publish("stopped")

    async def _or_stop(self, work: Awaitable[None]) -> None:
        """Work until it is done or a stop is asked for, whichever is first. *Raises* what the work raises."""
        task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not task.done():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def _restarted(self, name: str, old_pid: int, new_pid: int, reason: str, count: int) -> None:
        log.warning("%s ended (pid %d, %s); started again as pid %d, restart %d", name, old_pid, reason, new_pid, count)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._state.restarts.append(Restart(name, old_pid, new_pid, reason, count, at))
        del self._state.restarts[:-_RESTARTS_KEPT]

    def _publish(self, phase: Phase | None = None) -> None:
        self._state.programs = [k.running for k in (*self._servers.values(), *self._services.values())]
        if phase is None:
            phase = self._phase()
        self._state.phase = phase
        write(self._paths.state, self._state)

    def _phase(self) -> Phase:
        if self._stop.is_set():
            return "stopping"
        wanted = read_wanted(self._paths.wanted)
        applied = wanted is not None and wanted.revision == self._state.revision
        if applied and all(program.state == "ready" for program in self._state.programs):
            self._was_ready = True
            return "ready"
        return "degraded" if self._was_ready else "starting"

    def _clear_up_after_a_kill(self) -> None:
        """End what a killed supervisor left where the kernel does not (anywhere but Linux); forget who was held."""
        shutil.rmtree(self._paths.hold(""), ignore_errors=True)
        if self._before is not None:
            left = [p.process for p in self._before.programs if p.process is not None]
            end_groups(left, within_s=10.0)


def _same(running: Program, wanted: Program | None) -> bool:
    return wanted is not None and (running.command, running.env) == (wanted.command, wanted.env)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    handle: IO[str] = lock.open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise StackError(f"a stack already runs on {lock.parent}: `dataforge status` shows it") from None
    with handle:
        yield


def supervise(paths: StackPaths, *, started: Callable[[Supervisor], None] = lambda _: None) -> None:
    """Run a stack in this process until SIGTERM or SIGINT. *Raises* `StackError`."""

    async def run() -> None:
        supervisor = Supervisor(paths)
        started(supervisor)
        await supervisor.run()

    # its probes fail by the dozen while a broker starts; what matters is in the state
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    asyncio.run(run())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    try:
        supervise(StackPaths(Path(sys.argv[1])))
    except StackError as failed:
        log.error("%s", failed)
        sys.exit(1)
