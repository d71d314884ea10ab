"""A load of requests: plain HTTP/1.1 over connections that are kept, each with one request in flight."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from devstack.errors import StackError

CONNECTIONS = 8


async def ask(port: int, path: Callable[[int], str], headers: Mapping[str, str], times: int) -> bytes:
    """The body of the last answer. `path`: of the request with a number.

    *Raises* `StackError` where one is not 200, `OSError` where nobody listens.
    """
    more = [f"Host: 127.0.0.1:{port}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    requests = ["\r\n".join([f"GET {path(number)} HTTP/1.1", *more]).encode() for number in range(times)]
    shares = [requests[number::CONNECTIONS] for number in range(CONNECTIONS)]
    tasks = [asyncio.create_task(_ask(port, share)) for share in shares if share]
    try:
        return (await asyncio.gather(*tasks))[-1]
    finally:  # where one is refused the others ask no more
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ask(port: int, requests: Sequence[bytes]) -> bytes:
    body = b""
    async with connected(port) as connection:
        for request in requests:
            body = await connection.answer(request)
    return body


class Connection:
    """One that is kept. What a request costs the client is next to nothing beside what it costs the server."""

    def __init__(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._port, self._reader, self._writer = port, reader, writer

    async def post(self, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        """The answer's body. *Raises* as `ask`."""
        said = {"Host": f"127.0.0.1:{self._port}", **headers, "Content-Length": str(len(body))}
        head = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items()), "", ""]
        return await self.answer("\r\n".join(head).encode() + body)

    async def answer(self, request: bytes) -> bytes:
        """To a whole request; the body of it. *Raises* as `ask`."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
        body = await self._reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise StackError(f"a request was answered by {head.splitlines()[0].decode()}: {body[:300].decode()}")
        return body


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    """*Raises* `OSError` where nobody listens."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(port, reader, writer)
    finally:
        writer.close()
