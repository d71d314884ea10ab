"""A load of requests: plain HTTP/1.1 over connections that are kept, each with one request in flight."""

import asyncio
from collections.abc import Mapping

from devstack.errors import StackError

CONNECTIONS = 8


async def ask(port: int, path: str, headers: Mapping[str, str], times: int) -> bytes:
    """The body of the last answer. *Raises* `StackError` where one is not 200, `OSError` where nobody listens."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    request = "\r\n".join([*lines, "", ""]).encode()
    shares = [times // CONNECTIONS + (number < times % CONNECTIONS) for number in range(CONNECTIONS)]
    bodies = await asyncio.gather(*(_ask(port, request, share) for share in shares if share))
    return bodies[-1]


async def _ask(port: int, request: bytes, times: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b""
    try:
        for _ in range(times):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
            body = await reader.readexactly(length)
            if not head.startswith(b"HTTP/1.1 200 "):
                raise StackError(f"a request was answered by {head.splitlines()[0].decode()}: {body[:300].decode()}")
    finally:
        writer.close()
    return body
