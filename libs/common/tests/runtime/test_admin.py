from collections.abc import AsyncIterator

import aiohttp
import pytest

from dataforge.runtime import metrics  # noqa: F401 - what a service would have imported
from dataforge.runtime.admin import AdminServer


async def get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.text()


async def broken() -> str | None:
    raise ConnectionError("no route")


@pytest.fixture
async def server() -> AsyncIterator[AdminServer]:
    problems: dict[str, str | None] = {"kafka": None}
    server = AdminServer(0, {"kafka": lambda: problems["kafka"]}, alive=lambda: problems.get("loop"))
    server.problems = problems  # pyright: ignore[reportAttributeAccessIssue]
    await server.start()
    yield server
    await server.stop()


async def test_a_free_port_is_taken_and_told(server: AdminServer) -> None:
    assert server.port > 0
    assert (await get(server.port, "/healthz"))[0] == 200


async def test_ready_only_while_every_check_passes(server: AdminServer) -> None:
    assert (await get(server.port, "/readyz"))[0] == 200
    server.problems["kafka"] = "away since noon"  # pyright: ignore[reportAttributeAccessIssue]
    status, text = await get(server.port, "/readyz")
    assert status == 503
    assert '"kafka": "away since noon"' in text
    assert (await get(server.port, "/healthz"))[0] == 200


async def test_a_remark_is_shown_and_changes_nothing() -> None:
    remarks: dict[str, str | None] = {"paused": None}
    server = AdminServer(0, remarks={"paused": lambda: remarks["paused"]})
    await server.start()
    try:
        assert "remarks" not in (await get(server.port, "/readyz"))[1]
        remarks["paused"] = "raw.a"
        assert await get(server.port, "/readyz") == (
            200,
            '{"status": "ready", "failing": {}, "remarks": {"paused": "raw.a"}}',
        )
    finally:
        await server.stop()


async def test_no_progress_is_not_healthy(server: AdminServer) -> None:
    server.problems["loop"] = "hangs"  # pyright: ignore[reportAttributeAccessIssue]
    status, text = await get(server.port, "/healthz")
    assert status == 503
    assert "hangs" in text


async def test_a_check_that_raises_fails() -> None:
    server = AdminServer(0, {"store": broken})
    await server.start()
    try:
        status, text = await get(server.port, "/readyz")
    finally:
        await server.stop()
    assert status == 503
    assert "ConnectionError: no route" in text


async def test_metrics_are_prometheus_text(server: AdminServer) -> None:
    status, text = await get(server.port, "/metrics")
    assert status == 200
    assert "# HELP dataforge_rebalances_total" in text
