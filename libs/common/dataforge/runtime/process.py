"""How a service's process runs and ends."""

import asyncio
import gc
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import uvloop

from dataforge.errors import Fatal

logger = logging.getLogger(__name__)

EXIT_STOPPED = 0
EXIT_FATAL = 1

Main = Callable[[asyncio.Event], Awaitable[None]]
"""A service: runs until the event is set, then ends in order."""


@contextmanager
def starting() -> Iterator[None]:
    """Import and build a service within it: what is made then stays, and looking through it for garbage, over and over
    while it grows, takes a quarter of a start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def run(main: Main) -> NoReturn:
    """Run `main` on uvloop until it returns or SIGTERM/SIGINT set its stop event, then exit.

    Exit codes: 0 stopped, 1 `Fatal` or any other exception (logged), 2 unusable settings.
    A second signal ends the process at once with 1.
    """
    # Queued batches, rows and clients are many objects that stay: the default thresholds cost a quarter of the speed.
    gc.set_threshold(50_000, 50, 100)
    try:
        uvloop.run(_supervised(main))
    except SystemExit:
        raise
    except Fatal as error:
        logger.critical("stopped: %s", error, exc_info=error.__cause__)
        _exit(EXIT_FATAL)
    except BaseException as error:
        logger.critical("stopped by %s: %s", type(error).__name__, error, exc_info=error)
        _exit(EXIT_FATAL)
    logger.info("stopped")
    _exit(EXIT_STOPPED)


async def _supervised(main: Main) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stop, number)
    await main(stop)


def _on_signal(stop: asyncio.Event, number: int) -> None:
    if stop.is_set():
        logger.critical("second %s: leaving at once", signal.Signals(number).name)
        die()
    logger.info("%s: stopping", signal.Signals(number).name)
    stop.set()


def die(code: int = EXIT_FATAL) -> NoReturn:
    """End the process at once: no cleanup, nothing committed. Safe from any task or thread."""
    # In a thread: a lock that whatever hangs holds (stderr's reader may be gone) must not stop this.
    flushing = threading.Thread(target=logging.shutdown, daemon=True)
    flushing.start()
    flushing.join(timeout=1)
    os._exit(code)


def fail(doing: str, error: BaseException) -> NoReturn:
    """An error nobody may go on after: say it, and end the process with nothing committed."""
    if isinstance(error, Fatal):
        logger.critical("%s: %s", doing, error, exc_info=error.__cause__)
    else:
        logger.critical("%s failed: %r", doing, error, exc_info=error)
    die()


def _exit(code: int) -> NoReturn:
    # Threads of libraries (exporters, executors) must not hold a stopped process.
    logging.shutdown()
    raise SystemExit(code)
