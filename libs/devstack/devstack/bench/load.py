"""A load of requests: plain HTTP/1.1 over connections that are kept, each with one request in flight."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

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
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b""
    try:
        for request in requests:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
            body = await reader.readexactly(length)
            if not head.startswith(b"HTTP/1.1 200 "):
                raise StackError(f"a request was answered by {head.splitlines()[0].decode()}: {body[:300].decode()}")
    finally:
        writer.close()
    return body
