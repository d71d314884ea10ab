"""A stack on this machine: start it, find it, stop it. What `up` and `down` do, for programs and tests.

with Stack.start(folder, domains=[...], tied=True) as stack:
    stack.endpoints().kafka
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import msgspec

from devstack.domains import content
from devstack.errors import StackError
from devstack.jars import Progress, class_path, lock_of
from devstack.lake import jobs as lake
from devstack.model import (
    SERVERS,
    SERVICES,
    Endpoints,
    ServiceSpec,
    State,
    Wanted,
    read_running,
    read_state,
    read_wanted,
    write,
)
from devstack.paths import StackPaths
from devstack.processes import ProcessId, end_groups, spawn
from devstack.program import last_words
from devstack.settings import cache_dir, inherited

_POLL_S = 0.05
_CRASH_LOOP = 4
_REFUSED_S = 10.0
"""An error of the supervisor's that stands for so long will not pass by itself."""
_SEEN_S = 30.0
_STOP_S = 60.0

OnState = Callable[[State], None]


class Stack:
    """A running stack. *Guarantees*: `stop` leaves no process behind, whatever happened to the supervisor."""

    def __init__(self, paths: StackPaths) -> None:
        self.paths = paths
        self._child: subprocess.Popen[bytes] | None = None
        """The supervisor, where this object has started it."""

    @classmethod
    def start(
        cls,
        data_dir: Path,
        domains: Sequence[str | Path] = (),
        *,
        services: Sequence[ServiceSpec] = SERVICES,
        servers: Sequence[str] = SERVERS,
        env: Mapping[str, str] | None = None,
        usual_ports: bool = False,
        kafka_proxy: str = "",
        tied: bool = False,
        timeout_s: float = 120.0,
        fetching: Progress | None = None,
        on_state: OnState | None = None,
    ) -> Self:
        """Start a stack, or bring a running one to what is asked, and wait until all of it answers.

        With `tied` it dies with this thread. *Raises* `StackError` if it does not get ready; what this call
        started is then stopped again, also on Ctrl-C.
        """
        paths = StackPaths(Path(data_dir).absolute())
        paths.logs.mkdir(parents=True, exist_ok=True)
        for server in servers:
            if server in ("kafka", "s3proxy"):
                class_path(lock_of(server), cache_dir(), fetching)  # fetched here, where a user sees the progress
        if any(spec.environment == "lake" for spec in services):
            lake.python()
            lake.jars(fetching)
        asked = Wanted(
            revision=0,
            domains=tuple(map(str, domains)),
            domain_content=content(map(str, domains)),
            servers=tuple(servers),
            services=tuple(services),
            env=dict(env or {}),
            usual_ports=usual_ports,
            kafka_proxy=kafka_proxy,
        )
        stack = cls(paths)
        try:
            with _one_start_at_a_time(paths.data / "up.lock"):
                revision = _write_wanted(paths, asked)
                if read_running(paths.state) is None:
                    stack._launch(tied=tied)
            stack.wait_ready(revision, timeout_s=timeout_s, on_state=on_state)
        except BaseException:
            if stack._child is not None:
                stack.stop()
            raise
        return stack

    @classmethod
    def attach(cls, data_dir: Path) -> Self:
        """*Raises* `StackError` where none runs."""
        stack = cls(StackPaths(Path(data_dir).absolute()))
        if read_running(stack.paths.state) is None:
            raise StackError(f"no stack runs on {stack.paths.data}: `dataforge up` starts one")
        return stack

    def _launch(self, *, tied: bool) -> None:
        """Start a supervisor, and wait until the state tells of it: that is where the next start looks for one."""
        command, log = [sys.executable, "-m", "devstack.supervisor", str(self.paths.data)], self.paths.log("supervisor")
        child = spawn(command, env=inherited(), cwd=self.paths.data, log=log, dies_with_parent=tied)
        self._child = child

        def seen() -> bool:
            state = read_running(self.paths.state)
            return state is not None and state.supervisor is not None and state.supervisor.pid == child.pid

        _wait(lambda: child.poll() is not None or seen(), _SEEN_S)

    def state(self) -> State:
        """*Raises* `StackError` where no stack ever ran here."""
        state = read_state(self.paths.state)
        if state is None:
            raise StackError(f"no stack has run on {self.paths.data}: `dataforge up` starts one")
        return state

    def endpoints(self) -> Endpoints:
        return self.state().endpoints

    def pid(self, name: str) -> int:
        """0 while it does not run. *Raises* `KeyError`."""
        return self.state().program(name).pid

    def hold(self, name: str) -> None:
        """From now on, do not start this program again once it has ended; `release` it later."""
        self.paths.hold(name).parent.mkdir(exist_ok=True)
        self.paths.hold(name).touch()

    def release(self, name: str) -> None:
        self.paths.hold(name).unlink(missing_ok=True)

    def scale(self, service: str, instances: int) -> None:
        """Run so many of a service; what else runs goes on undisturbed. Does not wait. *Raises* `KeyError`."""
        with _one_start_at_a_time(self.paths.data / "up.lock"):
            wanted = read_wanted(self.paths.wanted)
            if wanted is None or service not in {spec.name for spec in wanted.services}:
                raise KeyError(service)
            scaled = [
                msgspec.structs.replace(spec, instances=instances) if spec.name == service else spec
                for spec in wanted.services
            ]
            _write_wanted(self.paths, msgspec.structs.replace(wanted, revision=0, services=tuple(scaled)))

    def wait_ready(self, revision: int, *, timeout_s: float, on_state: OnState | None = None) -> State:
        """Wait until everything of this revision answers. *Raises* `StackError` with the culprit's last words."""
        deadline, refused_s = time.monotonic() + timeout_s, 0.0
        while True:
            state = read_running(self.paths.state)
            if state is not None:
                if on_state:
                    on_state(state)
                if state.revision == revision and state.phase == "ready":
                    return state
                _raise_for_crash_loop(state)
                refused_s = (refused_s or time.monotonic()) if state.error else 0.0
                if refused_s and time.monotonic() > refused_s + _REFUSED_S:
                    raise StackError(state.error)
            elif self._child is None or self._child.poll() is not None:
                raise StackError(f"the supervisor has ended: {last_words(self.paths.log('supervisor'))}")
            if time.monotonic() > deadline:
                raise StackError(_still_missing(state, timeout_s))
            time.sleep(_POLL_S)

    def wait_stopped(self) -> None:
        """Until the supervisor has ended, for whatever reason."""
        supervisor = self.state().supervisor
        while supervisor is not None and supervisor.alive():
            time.sleep(_POLL_S)

    def stop(self, timeout_s: float = _STOP_S) -> bool:
        """Services first, then servers, then by force. Returns False where nothing ran.

        *Raises* `StackError` if something survives even SIGKILL.
        """
        state = read_state(self.paths.state)
        ran = any(leader.group() for leader in _groups(state))
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()
            _wait(lambda: self._child is None or self._child.poll() is not None, timeout_s)
        if state is not None and state.supervisor is not None and state.supervisor.alive():
            os.kill(state.supervisor.pid, signal.SIGTERM)
            supervisor = state.supervisor
            _wait(lambda: not supervisor.alive(), timeout_s)
        left = _groups(read_state(self.paths.state), state)
        survivors = end_groups(left, within_s=10.0)
        if self._child is not None:
            if self._child.poll() is None:
                self._child.kill()
            self._child.wait()
        if survivors:
            raise StackError(f"these processes could not be ended: {[p.pid for p in survivors]}")
        _mark_stopped(self.paths)
        return ran

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _write_wanted(paths: StackPaths, asked: Wanted) -> int:
    """Returns the revision to wait for; nothing is written where nothing changes."""
    before = read_wanted(paths.wanted)
    if before is not None and msgspec.structs.replace(before, revision=0) == asked:
        return before.revision
    wanted = msgspec.structs.replace(asked, revision=before.revision + 1 if before else 1)
    write(paths.wanted, wanted)
    return wanted.revision


def _groups(*states: State | None) -> list[ProcessId]:
    found: dict[ProcessId, None] = {}
    for state in states:
        if state is not None:
            owners = [state.supervisor, *(program.process for program in state.programs)]
            found |= {process: None for process in owners if process is not None}
    return list(found)


def _mark_stopped(paths: StackPaths) -> None:
    state = read_state(paths.state)
    if state is not None and state.phase != "stopped":
        for program in state.programs:
            program.process, program.state = None, "stopped"
        state.supervisor, state.phase = None, "stopped"
        write(paths.state, state)


def _raise_for_crash_loop(state: State) -> None:
    for program in state.programs:
        if program.state != "ready" and program.restarts >= _CRASH_LOOP:
            raise StackError(
                f"{program.name} ends again and again ({program.restarts} restarts): {last_words(Path(program.log))}"
            )


def _still_missing(state: State | None, timeout_s: float) -> str:
    waiting = [f"{p.name} ({p.detail})" for p in state.programs if p.state != "ready"] if state else []
    error = f"; {state.error}" if state and state.error else ""
    return (
        f"the stack was not ready after {timeout_s:.0f} s: waiting for {', '.join(waiting) or 'the supervisor'}{error}"
    )


def _wait(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


@contextmanager
def _one_start_at_a_time(lock: Path) -> Iterator[None]:
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
