"""The process as an orchestrator sees it: it waits for its store, says so, and ends on SIGTERM."""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import aiohttp
from websockets.asyncio.client import ClientConnection, connect

RETAIL = Path(__file__).parents[3] / "domains" / "retail"


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


async def reach(url: str, process: asyncio.subprocess.Process) -> ClientConnection:
    async with asyncio.timeout(30):
        while True:
            assert process.returncode is None
            try:
                return await connect(url)
            except OSError:
                await asyncio.sleep(0.05)


async def test_it_takes_clients_before_its_store_answers_and_ends_in_order():
    port, admin, nowhere = free_ports(3)
    env = {
        "DATAFORGE_HOST": "127.0.0.1",
        "DATAFORGE_PORT": str(port),
        "DATAFORGE_ADMIN_HOST": "127.0.0.1",
        "DATAFORGE_ADMIN_PORT": str(admin),
        "DATAFORGE_REDIS_URL": f"redis://127.0.0.1:{nowhere}/0",
        "DATAFORGE_DOMAINS": str(RETAIL),
        "DATAFORGE_API_TOKEN": "t",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "ws_gateway", env=os.environ | env)
    try:
        client = await reach(f"ws://127.0.0.1:{port}", process)
        for message in ({"type": "auth", "token": "t"}, {"type": "subscribe", "id": 1, "metric": "revenue"}):
            await client.send(json.dumps(message))
        answers = [json.loads(await asyncio.wait_for(client.recv(), 5))["type"] for _ in range(2)]
        assert answers == ["ready", "subscribed"]
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{admin}/readyz") as ready:
            assert ready.status == 503
            assert "feed" in (await ready.json())["failing"]
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
        await asyncio.wait_for(client.wait_closed(), 5)
        assert client.close_code == 1001
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
