"""Ends a process that no longer makes progress: a hung loop keeps its heartbeat, and its partitions, for ever."""

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count

from dataforge.runtime.process import die

logger = logging.getLogger(__name__)


_here: ContextVar["tuple[Watchdog, int] | None"] = ContextVar("watched", default=None)
"""What is watched in this task."""


def progress() -> None:
    """What is watched in this task has got something done: however long it takes, it does not hang."""
    if (here := _here.get()) is not None:
        dog, token = here
        dog.renew(token)


@contextmanager
def waiting() -> Iterator[None]:
    """For others, who are watched themselves: meanwhile this task does not hang."""
    if (here := _here.get()) is None:
        yield
        return
    dog, token = here
    with dog.forgotten(token):
        yield


class Watchdog:
    """Watches the event loop and named pieces of work from a thread of its own.

    *Guarantees*: when the loop does not turn, or a piece of work is not ended, for `limit_s` seconds, the
    process ends (`die`) within a tenth of that more, with nothing committed. Waiting on purpose (a back-off)
    is no work: do not watch it.
    """

    def __init__(self, limit_s: float, die: Callable[[], object] = die) -> None:
        self.limit_s = limit_s
        self._die = die
        self._since: dict[int, tuple[str, float]] = {}
        self._tokens = count()
        self._beat = time.monotonic()
        self._stopped = threading.Event()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin. Call it from the loop that is to be watched."""
        self._turn(asyncio.get_running_loop())
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()

    def begin(self, what: str) -> int:
        """A piece of work starts; hand what this returns to `end`."""
        token = next(self._tokens)
        self._since[token] = (what, time.monotonic())
        return token

    def end(self, token: int) -> None:
        self._since.pop(token, None)

    @contextmanager
    def watch(self, what: str) -> Iterator[None]:
        token = self.begin(what)
        _here.set((self, token))  # never taken back: once it has ended nobody is watched under it
        try:
            yield
        finally:
            self.end(token)

    def renew(self, token: int) -> None:
        if (watched := self._since.get(token)) is not None:
            self._since[token] = (watched[0], time.monotonic())

    @contextmanager
    def forgotten(self, token: int) -> Iterator[None]:
        watched = self._since.pop(token, None)
        try:
            yield
        finally:
            if watched is not None:
                self._since[token] = (watched[0], time.monotonic())

    def problem(self, limit_s: float | None = None) -> str | None:
        """What hangs longer than `limit_s` (half the limit by default), for /healthz; None where nothing does."""
        limit_s = self.limit_s / 2 if limit_s is None else limit_s
        now = time.monotonic()
        hanging = [("event loop", self._beat), *self._since.copy().values()]
        late = [f"{what} for {now - since:.1f} s" for what, since in hanging if now - since > limit_s]
        return f"no progress: {', '.join(late)}" if late else None

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beat = time.monotonic()
        self._timer = loop.call_later(self.limit_s / 20, self._turn, loop)

    def _watch(self) -> None:
        while not self._stopped.wait(self.limit_s / 20):
            if (problem := self.problem(self.limit_s)) is not None:
                self._stopped.set()
                # In a thread: what hangs may hold the logging lock.
                saying = threading.Thread(target=self._say, args=(problem,), daemon=True)
                saying.start()
                saying.join(timeout=1)
                self._die()

    def _say(self, problem: str) -> None:
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        stack = "".join(traceback.format_stack(frame)) if frame else ""
        words = "%s (limit %s s): leaving with nothing committed"
        logger.critical(words, problem, self.limit_s, extra={"main_thread": stack})
