"""A server or service as the supervisor sees it: one shape for all of them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devstack.errors import StackError

Probe = Callable[[], Awaitable[None]]
"""Makes one real request and returns if it was answered well. *Raises* `NotReady`."""

_PROBE_EVERY_S = 0.1
_PROBE_TIMEOUT_S = 5.0


class NotReady(Exception):
    """The request was not answered, or not well; the text says how."""


@dataclass(frozen=True, slots=True)
class Program:
    """How to run one process, and how to know that it works.

    `prepare` is run before every start and is idempotent (write the configuration, format what is unformatted);
    it runs in the supervisor's thread, so it may block, but not for long.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    folder: Path
    """Its private folder and working directory."""
    log: Path
    ready: Probe
    ports: Mapping[str, int] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None
    stop_within_s: float = 20.0
    """From SIGTERM to SIGKILL."""


async def wait_ready(program: Program, *, alive: Callable[[], bool], timeout_s: float) -> None:
    """Probe until an answer comes. *Raises* `StackError` where it dies or the time passes first."""
    deadline = time.monotonic() + timeout_s
    while True:
        reason = await probe(program)
        if not reason:
            return
        if not alive():
            raise StackError(f"{program.name} ended before it was ready: {last_words(program.log)}")
        if time.monotonic() > deadline:
            raise StackError(f"{program.name} was not ready after {timeout_s:.0f} s ({reason}); see {program.log}")
        await asyncio.sleep(_PROBE_EVERY_S)


async def probe(program: Program) -> str:
    """Empty where the program answers, else why it does not."""
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            await program.ready()
    except NotReady as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {_PROBE_TIMEOUT_S:.0f} s"
    return ""


async def accepts_tcp(port: int) -> None:
    """A cheap look before a client library's noisy one. *Raises* `NotReady`."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        raise NotReady(f"port {port}: {error.strerror or error}") from error
    writer.close()


async def http_ok(port: int, path: str) -> None:
    """GET over loopback; anything but 200 is `NotReady` with the start of the body."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        raise NotReady(f"port {port}: {error.strerror or error}") from error
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read(4096)
    except OSError as error:
        raise NotReady(f"port {port}: {error}") from error
    finally:
        writer.close()
    status, _, rest = answer.partition(b"\r\n")
    if b" 200" not in status:
        body = rest.partition(b"\r\n\r\n")[2]
        raise NotReady(f"{path} answered {status.decode('latin1')} {body[:200].decode('utf-8', 'replace')}".strip())


def last_words(log: Path, lines: int = 12) -> str:
    """The end of a log, for an error message."""
    try:
        with log.open("rb") as handle:
            handle.seek(max(0, log.stat().st_size - 8192))
            tail = handle.read().decode("utf-8", "replace").splitlines()[-lines:]
    except OSError:
        tail = []
    return f"see {log}\n" + "\n".join(f"    {line}" for line in tail)
