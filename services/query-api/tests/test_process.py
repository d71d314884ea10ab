"""The process as an orchestrator sees it: it serves without its store, says so, and ends on SIGTERM."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

RETAIL = Path(__file__).parents[3] / "domains" / "retail"


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@asynccontextmanager
async def running(port: int, admin: int, nowhere: int, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    env = {
        "DATAFORGE_HOST": "127.0.0.1",
        "DATAFORGE_PORT": str(port),
        "DATAFORGE_ADMIN_HOST": "127.0.0.1",
        "DATAFORGE_ADMIN_PORT": str(admin),
        "DATAFORGE_REDIS_URL": f"redis://127.0.0.1:{nowhere}/0",
        "DATAFORGE_DOMAINS": str(RETAIL),
        "DATAFORGE_API_TOKEN": "t",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "query_api", env=os.environ | env | settings, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_it_serves_says_what_is_missing_and_ends_in_order():
    port, admin, nowhere = free_ports(3)
    async with running(port, admin, nowhere) as process, httpx.AsyncClient(timeout=5) as client:
        async with asyncio.timeout(60):
            while True:
                assert process.returncode is None
                try:
                    assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 200
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
        ready = await client.get(f"http://127.0.0.1:{admin}/readyz")
        assert ready.status_code == 503
        assert "state" in ready.json()["failing"]
        rows = f"http://127.0.0.1:{port}/metrics?metric=revenue"
        assert (await client.get(rows, headers={"Authorization": "Bearer t"})).status_code == 503
        assert "dataforge_http_requests_total" in (await client.get(f"http://127.0.0.1:{admin}/metrics")).text
        with pytest.raises(InvalidStatus) as caught:
            await connect(f"ws://127.0.0.1:{port}/metrics")
        assert caught.value.response.status_code == 426
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_unusable_settings_are_named():
    async with running(1, 0, 1, DATAFORGE_WS_URL="http://live") as process:
        _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert b"DATAFORGE_WS_URL" in said
