"""One listening port before one server: passes bytes on, under the conditions that are imposed."""

import asyncio
import random
import re
import socket
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from devstack.chaos.proxy.conditions import (
    HTTP_REASONS,
    Answer,
    BlackHole,
    Condition,
    Cut,
    Delay,
    Refuse,
    Reply,
    Throttle,
)

_CHUNK_BYTES = 256 * 1024
_UNREAD_S = 1.0
"""How long the rest of a request is still read after an error was answered: a reset would overtake the answer."""
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)
_HTTP_REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) /")

Direction = Literal["up", "down"]


class Imposed:
    """A condition in force, and what it did so far."""

    def __init__(self, condition: Condition) -> None:
        self.condition = condition
        self.lifted = asyncio.Event()
        self.effects: Counter[str] = Counter()

    async def wait(self, seconds: float | None = None) -> None:
        """So long, or until it is lifted."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.lifted.wait()


class _Link:
    """A client's connection and the one to the server."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client, self.server = client, server

    def reset(self) -> None:
        for writer in (self.client, self.server):
            reset(writer)


class Relay:
    """`upstream` says where the server is, or None while nobody knows: then the client is reset."""

    def __init__(self, port: int, upstream: Callable[[], tuple[str, int] | None], chosen: random.Random) -> None:
        self._port, self._upstream, self._chosen = port, upstream, chosen
        self._imposed: dict[int, Imposed] = {}
        self._links: set[_Link] = set()
        self._numbers = 0
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self._port, limit=_CHUNK_BYTES)

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for number in tuple(self._imposed):
            self.lift(number)
        self.drop_all()

    def impose(self, condition: Condition) -> Reply:
        self._numbers += 1
        self._imposed[self._numbers] = Imposed(condition)
        return {"number": self._numbers}

    def look(self, number: int) -> Reply:
        imposed = self._imposed.get(number)
        return {} if imposed is None else dict(imposed.effects)

    def lift(self, number: int) -> Reply:
        imposed = self._imposed.pop(number, None)
        if imposed is None:
            return {}
        imposed.lifted.set()
        return dict(imposed.effects)

    def drop_all(self) -> Reply:
        links = tuple(self._links)
        for link in links:
            link.reset()
        return {"connections": len(links)}

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if (refused := self._in_force(Refuse)) is not None:
            refused.effects["refused"] += 1
            return reset(client)
        address = self._upstream()
        if address is None:
            return reset(client)
        try:
            answers, server = await asyncio.open_connection(*address, limit=_CHUNK_BYTES)
        except OSError:
            return reset(client)
        link = _Link(client, server)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(link, reader, server, "up"))
                both.create_task(self._pump(link, answers, client, "down"))
        finally:
            self._links.discard(link)
        return None

    def _in_force(self, kind: type[Condition]) -> Imposed | None:
        return next((imposed for imposed in self._imposed.values() if isinstance(imposed.condition, kind)), None)

    async def _pump(
        self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter, direction: Direction
    ) -> None:
        with suppress(OSError):  # whoever went away, the other side is told by the closing below
            while data := await source.read(_CHUNK_BYTES):
                for imposed in tuple(self._imposed.values()):
                    if not await self._passes(imposed, link, source, data, direction):
                        return
                sink.write(data)
                await sink.drain()
        sink.close()
        with suppress(OSError):
            await sink.wait_closed()

    def _hits(self, imposed: Imposed, share: float) -> bool:
        """A share of them, and the first for certain: a condition that met traffic has had an effect."""
        return not imposed.effects or self._chosen.random() < share

    async def _passes(
        self, imposed: Imposed, link: _Link, source: asyncio.StreamReader, data: bytes, direction: Direction
    ) -> bool:
        """Hold the chunk as the condition says; False where it must not be passed on, the link is then done for."""
        effects = imposed.effects
        match imposed.condition:
            case BlackHole():
                effects["held_bytes"] += len(data)
                await imposed.wait()
            case Delay(latency_s, jitter_s):
                effects["delayed_chunks"] += 1
                await imposed.wait(latency_s + jitter_s * self._chosen.random())
            case Throttle(bytes_per_s):
                effects["throttled_bytes"] += len(data)
                await imposed.wait(len(data) / bytes_per_s)
            case Cut(share, answers_only):
                if (direction == "down" or not answers_only) and self._hits(imposed, share):
                    effects["lost_answers" if direction == "down" else "lost_requests"] += 1
                    link.reset()
                    return False
            case Answer(share, status):
                if direction == "up" and _HTTP_REQUEST.match(data) and self._hits(imposed, share):
                    effects["errors_answered"] += 1
                    await _answer(link, source, status)
                    return False
            case Refuse():
                pass
        return True


async def _answer(link: _Link, source: asyncio.StreamReader, status: int) -> None:
    reason = HTTP_REASONS[status]
    body = f'<?xml version="1.0"?><Error><Code>{reason}</Code><Message>injected</Message></Error>'.encode()
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    link.client.write(f"{head}Connection: close\r\n\r\n".encode() + body)
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_UNREAD_S):
            while await source.read(_CHUNK_BYTES):
                continue
    link.client.close()
    link.server.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close by RST: the peer gets an error at once, whatever it was doing."""
    raw = writer.get_extra_info("socket")
    if raw is not None and not writer.is_closing():
        with suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    writer.transport.abort()
