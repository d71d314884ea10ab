"""A gateway over a shop, and what its clients say and hear, by another library's client."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from dataforge.state.memory import MemoryState
from dataforge.testing.kpis import sample_domain

from ws_gateway.app import Gateway
from ws_gateway.settings import GatewaySettings

T0 = 1_700_000_000_000 // 60_000 * 60_000
TOKEN = "let-me-in"
DOMAIN = sample_domain()
SUBSCRIBE = {"type": "subscribe", "id": "a", "metric": "revenue", "window": "10s", "by": ["store"]}


@asynccontextmanager
async def gateway(state: MemoryState, **settings: Any) -> AsyncIterator[str]:
    """The address of a running gateway."""
    given = {"host": "127.0.0.1", "port": 0, "api_token": TOKEN, "heartbeat_s": 60} | settings
    built = Gateway(GatewaySettings(**given), [DOMAIN], state)
    stop = asyncio.Event()
    running = asyncio.create_task(built.run(stop))
    await until(lambda: built.server.port != 0 and built.follower.problem is None, running)
    try:
        yield f"ws://127.0.0.1:{built.server.port}"
    finally:
        stop.set()
        await asyncio.wait_for(running, 5)


async def until(condition: Callable[[], bool], running: asyncio.Task[None] | None = None) -> None:
    async with asyncio.timeout(5):
        while not condition():
            if running is not None and running.done():
                running.result()
            await asyncio.sleep(0)


async def receive(client: ClientConnection) -> dict[str, Any]:
    return json.loads(await asyncio.wait_for(client.recv(), 5))


async def ask(client: ClientConnection, message: dict[str, Any]) -> dict[str, Any]:
    await client.send(json.dumps(message))
    return await receive(client)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[ClientConnection]:
    async with connect(url, subprotocols=["dataforge.v1"]) as client:  # pyright: ignore[reportArgumentType]
        assert (await ask(client, {"type": "auth", "token": TOKEN}))["type"] == "ready"
        yield client


async def closed_with(client: ClientConnection) -> int:
    """The code the server closed with; frames before it are read away."""
    async with asyncio.timeout(5):
        async for _ in drained(client):
            pass
    return client.close_code or 0


async def drained(client: ClientConnection) -> AsyncIterator[str | bytes]:
    with suppress(ConnectionClosed):
        while True:
            yield await client.recv()
