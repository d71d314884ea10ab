"""An event loop that is a pure function of a seed: virtual time, seeded order, and processes that can be killed.

No real clock, socket or thread. Where nothing is ready the clock jumps to the next timer. A simulated process is
whatever runs in its context: what it schedules carries the context along, so real code needs no change to belong to
one, to be killed between any two of its steps, and to be held back like a stopped process.

*Guarantees*: callbacks of one process run in the order they were scheduled, as asyncio promises; which process goes
on next is drawn. So processes interleave at every await, and no order is tried that a real loop could not have.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(Exception):
    """Nothing is ready and nothing will be: every task waits for another."""


class Process:
    """Something that can be killed. Killed, it runs nothing any more: no cleanup, no last words."""

    def __init__(self, loop: "SimulatedLoop", name: str) -> None:
        self._loop = loop
        self.name = name
        self.alive = True
        self.paused = False
        self.ready: deque[asyncio.Handle] = deque()
        self._context = copy_context()
        self._context.run(_running.set, self)
        loop.processes.append(self)

    def __repr__(self) -> str:
        return self.name

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        return self._loop.create_task(coroutine, context=self._context.copy())

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        return self._loop.call_later(delay_s, callback, *args, context=self._context)

    def kill(self) -> None:
        self.alive = False
        self._loop.forget(self)

    def pause(self) -> None:
        """SIGSTOP: time goes on without it."""
        self.paused = True
        self._loop.forget(self)

    def resume(self) -> None:
        if self.paused and self.alive and self.ready:
            self._loop.runnable.append(self)
        self.paused = False


_running: ContextVar[Process] = ContextVar("process")


def running() -> Process:
    """The process whose code this is."""
    return _running.get()


class SimulatedLoop(asyncio.BaseEventLoop):
    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random
        self._now_s = 0.0
        self.steps = 0
        self.processes: list[Process] = []
        self.runnable: list[Process] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._made = 0
        self.unhandled: list[str] = []
        """Exceptions that nobody awaited: in a callback, or of a task that was not waited for."""
        self.environment = Process(self, "environment")
        """Everything that is no process of the platform: servers, networks, supervisors."""
        self.set_exception_handler(self._note)

    def time(self) -> float:
        return self._now_s

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run `main` in the environment, then discard whatever else is left."""
        try:
            task = self.environment.spawn(main)
            task.add_done_callback(lambda _: self.stop())
            self.run_forever()
            return task.result()
        finally:
            self._discard()
            self.close()

    def _discard(self) -> None:
        """Killed tasks would complain when they are collected; what ends here has nothing to say."""
        for process in self.processes:
            process.alive = False
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # pyright: ignore[reportAttributeAccessIssue]
            coroutine: Any = task.get_coro()
            with suppress(RuntimeError):
                coroutine.close()
        self._timers.clear()
        self.runnable.clear()

    def _note(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if "never retrieved" not in context["message"]:
            self.unhandled.append(f"{context['message']}: {error!r}")

    # ---- scheduling
    def call_soon(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._make_ready(handle)
        return handle

    call_soon_threadsafe = call_soon  # pyright: ignore[reportAssignmentType]

    def call_at(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        timer._scheduled = True  # pyright: ignore[reportAttributeAccessIssue]
        self._made += 1
        heapq.heappush(self._timers, (when, self._made, timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when their time comes."""

    def _make_ready(self, handle: asyncio.Handle) -> None:
        process: Process = handle._context.get(_running, self.environment)  # pyright: ignore
        # What was killed keeps what it would have done: were that dropped, its tasks would be destroyed, and
        # their `finally` would run.
        if not process.ready and process.alive and not process.paused:
            self.runnable.append(process)
        process.ready.append(handle)

    def forget(self, process: Process) -> None:
        with suppress(ValueError):
            self.runnable.remove(process)

    def _run_once(self) -> None:
        timers = self._timers
        while not self.runnable:
            if not timers:
                raise Stuck("nothing is ready, and no timer is set")
            when, _, timer = heapq.heappop(timers)
            if not timer._cancelled:
                self._now_s = max(self._now_s, when)
                self._make_ready(timer)
        while timers and timers[0][0] <= self._now_s:
            timer = heapq.heappop(timers)[2]
            if not timer._cancelled:
                self._make_ready(timer)
        # Any of them may go on next: take one out, in constant time.
        at = int(self._random.random() * len(self.runnable))
        process = self.runnable[at]
        handle = process.ready.popleft()
        if not process.ready:
            self.runnable[at] = self.runnable[-1]
            self.runnable.pop()
        if not handle._cancelled:
            self.steps += 1
            handle._run()
