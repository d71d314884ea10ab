"""So many queries at once, so many more that wait, and each for no longer than it may."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from query_api.query.problems import QueryProblem

T = TypeVar("T")
_AGAIN_S = 0.05


class Slots:
    """*Guarantees*: whoever is cancelled or out of time is answered at once; the work is interrupted until it has
    ended, and holds its slot until then.
    """

    def __init__(self, workers: int, queue: int, time_limit_s: float) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="query")
        self._most, self._time_limit_s = workers + queue, time_limit_s
        self._taken = 0
        self._stopping: set[asyncio.Task[None]] = set()
        self._interrupts: dict[asyncio.Future[Any], Callable[[], None]] = {}

    async def run(self, work: Callable[[], T], interrupt: Callable[[], None]) -> T:
        """`work` in a thread; `interrupt`, from another, makes it end soon.

        *Raises* `QueryProblem`, and what `work` does.
        """
        if self._taken >= self._most:
            raise QueryProblem("busy", f"{self._taken} queries run or wait already", "try again in a moment")
        self._taken += 1
        running = self._pool.submit(work)
        ended = asyncio.wrap_future(running)
        self._interrupts[ended] = interrupt
        ended.add_done_callback(self._free)
        try:
            async with asyncio.timeout(self._time_limit_s):
                return await asyncio.shield(ended)
        except TimeoutError:
            self._stop(running, ended, interrupt)
            limit = f"{self._time_limit_s:g} s"
            raise QueryProblem("too_slow", f"the query took longer than {limit}", "ask for less: fewer days") from None
        except asyncio.CancelledError:
            self._stop(running, ended, interrupt)
            raise

    async def close(self) -> None:
        """What still runs is interrupted, lest the process waits for it."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        while running := dict(self._interrupts):
            for interrupt in running.values():
                interrupt()
            await asyncio.wait(running, timeout=_AGAIN_S)

    def _free(self, ended: asyncio.Future[T]) -> None:
        self._taken -= 1
        del self._interrupts[ended]
        if not ended.cancelled():
            ended.exception()  # whoever waited has been told, or has left

    def _stop(self, running: Future[T], ended: asyncio.Future[T], interrupt: Callable[[], None]) -> None:
        if running.cancel():
            return  # it had not begun

        async def until_it_ends() -> None:
            while not ended.done():
                interrupt()  # again and again: between two steps of its work, nothing hears it
                await asyncio.wait({ended}, timeout=_AGAIN_S)

        task = asyncio.create_task(until_it_ends())
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)
