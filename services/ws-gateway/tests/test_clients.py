"""How a client connects, what it may not do, and how the server ends it: a real server on a real socket."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from dataforge.state.memory import MemoryState

from talking import SUBSCRIBE, TOKEN, ask, closed_with, connected, gateway, receive

Offence = Callable[[ClientConnection], Awaitable[None]]


@pytest.mark.parametrize(
    ("offence", "code"),
    [
        (lambda c: c.send("no json"), 4400),
        (lambda c: c.send(b"binary"), 4400),
        (lambda c: c.send(json.dumps(SUBSCRIBE)), 4401),
        (lambda c: c.send('{"type": "auth", "token": "guess"}'), 4401),
        (lambda c: c.send("x" * 70_000), 1009),
        (lambda c: c.send(["x" * 40_000, "x" * 40_000]), 4400),
    ],
)
async def test_offences_close_with_a_code(state: MemoryState, offence: Offence, code: int):
    async with gateway(state) as url, connect(url) as client:
        await offence(client)
        assert await closed_with(client) == code


async def test_a_second_auth_is_a_conflict(state: MemoryState):
    async with gateway(state) as url, connected(url) as client:
        await client.send(json.dumps({"type": "auth", "token": TOKEN}))
        assert await closed_with(client) == 4409


async def test_a_message_in_fragments_is_one_message(state: MemoryState):
    async with gateway(state) as url, connect(url) as client:
        await client.send(['{"type": "auth", ', f'"token": "{TOKEN}"', "}"])
        assert (await receive(client))["type"] == "ready"


async def test_the_token_may_come_as_a_subprotocol(state: MemoryState):
    offered: Any = ["dataforge.v1", f"dataforge.token.{TOKEN}"]
    async with gateway(state) as url:
        async with connect(url, subprotocols=offered) as client:
            assert client.subprotocol == "dataforge.v1"
            assert (await receive(client))["type"] == "ready"
        async with connect(url, subprotocols=["dataforge.v1", "dataforge.token.guess"]) as client:  # pyright: ignore[reportArgumentType]
            assert await closed_with(client) == 4401


async def test_foreign_origins_are_forbidden(state: MemoryState):
    async with gateway(state) as url:
        async with connect(url, origin="https://evil.example") as client:  # pyright: ignore[reportArgumentType]
            assert await closed_with(client) == 4403
        async with connect(url, origin="http://localhost:3000") as client:  # pyright: ignore[reportArgumentType]
            assert (await ask(client, {"type": "auth", "token": TOKEN}))["type"] == "ready"


async def test_other_protocols_and_plain_http_are_told_what_this_is(state: MemoryState):
    async with gateway(state) as url:
        with pytest.raises(InvalidStatus) as caught:
            await connect(url, subprotocols=["mqtt"])  # pyright: ignore[reportArgumentType]
        assert caught.value.response.status_code == 400
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"426" in await reader.readline()
        writer.close()


async def test_full_and_stopping_servers_say_so(state: MemoryState):
    async with gateway(state, max_clients=1) as url, connected(url) as first:
        async with connect(url) as second:
            assert await closed_with(second) == 4429
        assert (await ask(first, {"type": "ping"}))["type"] == "pong"
    async with gateway(state) as url:
        client = await connect(url)
    assert await closed_with(client) == 1001
