"""A crowd of WebSocket clients in a process of its own, and what it was sent."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from devstack.bench.deployed import CONTESTANTS
from devstack.errors import StackError

_PATIENCE_S = 180.0


class Heard(msgspec.Struct):
    """What every client of a crowd was sent."""

    snapshot: str
    """The last frame before the crowd had begun."""
    tales: int
    """How many different sequences of frames were sent; of none, 0."""
    frames: list[tuple[str, list[float]]]
    """Frame -> monotonic times at which it came to the clients, in the order of the frames."""

    @property
    def delivered(self) -> int:
        return sum(len(times) for _, times in self.frames)


@dataclass(frozen=True)
class Crowd:
    clients: int
    stalled: int = 0
    """As many of them stop reading once they have begun."""
    first: int = 0
    """Frames after which a client has begun."""
    messages: Sequence[str] = field(default=())

    @asynccontextmanager
    async def at(self, port: int, last: str) -> AsyncIterator["Listening"]:
        """Connected, and begun. *Raises* `StackError`, `ConnectionError` where nobody listens yet."""
        _, probe = await asyncio.open_connection("127.0.0.1", port)
        probe.close()
        numbers = (self.clients, self.stalled, self.first)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(CONTESTANTS / "clients.py"),
            f"ws://127.0.0.1:{port}",
            *map(str, numbers),
            last,
            *self.messages,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 30,
        )
        try:
            listening = Listening(process)
            if await listening.line() != b"begun\n":
                raise StackError(f"{self.clients} WebSocket clients do not get what they begin with")
            yield listening
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


class Listening:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> bytes:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            return await asyncio.wait_for(self._process.stdout.readline(), _PATIENCE_S)
        except TimeoutError:
            raise StackError(f"WebSocket clients have waited for {_PATIENCE_S:.0f} s") from None

    async def heard(self) -> Heard:
        """Once every client that reads has got the last frame. *Raises* `StackError` where it does not come."""
        said = await self.line()
        if not said:
            raise StackError("the WebSocket clients have failed: their output says why")
        return msgspec.json.decode(said, type=Heard)
