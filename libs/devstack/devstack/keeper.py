"""Keeps one program running: start, probe, wait for its end, back off, start again."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Literal

from devstack.errors import StackError
from devstack.model import ProgramState, Running
from devstack.processes import ProcessId, identify, signal_groups, spawn
from devstack.program import Program, last_words, probe

_POLL_S = 0.05
_PROBE_EVERY_S = 0.1
_BACKOFF_FIRST_S = 0.2
_BACKOFF_MOST_S = 10.0
_STEADY_S = 30.0
"""After running this long a program's next death starts with the first backoff again."""

OnRestart = Callable[[str, int, int, str, int], None]
"""(name, old pid, new pid, reason, count)"""


class Keeper:
    """One program's life. `run` returns only after `stop` was asked for, with the whole process group gone."""

    def __init__(
        self,
        program: Program,
        kind: Literal["server", "service"],
        *,
        changed: Callable[[], None],
        restarted: OnRestart,
        held: Callable[[], bool] = lambda: False,
    ) -> None:
        """While `held`, the program is not started again when it has ended."""
        self.program = program
        self.running = Running(program.name, kind, "starting", dict(program.ports), str(program.log))
        self.ready = asyncio.Event()
        self._changed = changed
        self._restarted = restarted
        self._held = held
        self._stopping = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=program.name)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for the group after the program's bound."""
        self._stopping.set()
        await asyncio.shield(self._task)  # who waits may be cancelled; the end of the program may not

    async def _run(self) -> None:
        old_pid, reason, failures = 0, "", 0
        while not self._stopping.is_set():
            await self._while_held()
            born = time.monotonic()
            child = await self._start()
            if child is not None:
                if old_pid:
                    self.running.restarts += 1
                    self._restarted(self.program.name, old_pid, child.pid, reason, self.running.restarts)
                await self._until_end(child)
                old_pid, reason = child.pid, _reason(child.returncode)
            if self._stopping.is_set():
                break
            failures = 0 if time.monotonic() - born > _STEADY_S else failures + 1
            if self._held():
                continue
            await self._back_off(min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2 ** max(0, failures - 1)), reason)
        self._note("stopped", "")

    async def _start(self) -> subprocess.Popen[bytes] | None:
        self._note("starting", self.running.detail)
        try:
            await asyncio.to_thread(self.program.prepare)
            if self._stopping.is_set():
                return None
            # in the loop's own thread: the kernel ties the child's life to the thread that forks it
            child = spawn(self.program.command, env=self.program.env, cwd=self.program.folder, log=self.program.log)
            self.running.process = identify(child.pid)
        except (OSError, StackError) as error:
            self.running.detail = str(error)
            return None
        self._changed()
        return child

    async def _while_held(self) -> None:
        if self._held():
            self._note("held", "not to be started for now")
        while self._held() and not self._stopping.is_set():  # noqa: ASYNC110 - no event tells of a file's end
            await asyncio.sleep(_POLL_S)

    async def _until_end(self, child: subprocess.Popen[bytes]) -> None:
        leader = self.running.process
        probing = asyncio.create_task(self._probe_until_ready())
        stop_asked = asyncio.create_task(self._stopping.wait())
        try:
            while child.poll() is None and not stop_asked.done():
                await asyncio.wait({stop_asked}, timeout=_POLL_S)
            if leader is not None:
                await self._end(child, leader)
        finally:
            probing.cancel()
            stop_asked.cancel()
            await asyncio.gather(probing, stop_asked, return_exceptions=True)
            self.ready.clear()
            self.running.process = None

    async def _end(self, child: subprocess.Popen[bytes], leader: ProcessId) -> None:
        """Nothing of the group stays, whether the leader was told to go or has died."""
        deadline = time.monotonic() + (self.program.stop_within_s if child.poll() is None else 0.0)
        signal_groups([leader], signal.SIGTERM)
        while child.poll() is None or leader.group():
            if time.monotonic() > deadline:
                signal_groups([leader], signal.SIGKILL)
            await asyncio.sleep(_POLL_S)

    async def _probe_until_ready(self) -> None:
        while reason := await probe(self.program):
            if reason != self.running.detail:
                self._note("starting", reason)
            await asyncio.sleep(_PROBE_EVERY_S)
        self.ready.set()
        self._note("ready", "")

    async def _back_off(self, wait_s: float, reason: str) -> None:
        why = reason or self.running.detail
        self._note("backoff", f"{why}; starting again in {wait_s:.1f} s; {last_words(self.program.log, 1)}")
        try:
            async with asyncio.timeout(wait_s):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _note(self, state: ProgramState, detail: str) -> None:
        self.running.state, self.running.detail = state, detail
        self._changed()


def _reason(code: int | None) -> str:
    if code is None:
        return "ended"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
