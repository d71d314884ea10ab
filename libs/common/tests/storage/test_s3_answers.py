"""What `S3Store` makes of a server's answers, asked of a server that gives them in order."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from dataforge.errors import Fatal, Transient
from dataforge.storage.s3 import S3Store

Answer = tuple[int, str]
OK: Answer = (200, "")
BUSY: Answer = (503, "SlowDown")
EXISTS: Answer = (412, "PreconditionFailed")


@asynccontextmanager
async def answering(answers: list[Answer]) -> AsyncIterator[tuple[S3Store, list[tuple[str, str | None, bytes]]]]:
    """A store before a server that gives these answers, then 200; and the requests the server got."""
    asked: list[tuple[str, str | None, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.path, request.headers.get("If-None-Match"), await request.read()))
        status, code = answers.pop(0) if answers else OK
        if status == 0:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=status or 200, text=f"<Error><Code>{code}</Code></Error>" if code else "")

    app = web.Application()
    app.router.add_route("*", "/{key:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    store = S3Store(
        "bucket", endpoint=f"http://127.0.0.1:{port}", access_key="a", secret_key="b", timeout_s=5, patience_s=20
    )
    await store.open()
    try:
        yield store, asked
    finally:
        await store.close()
        await runner.cleanup()


@pytest.mark.parametrize("passing", [BUSY, (500, "InternalError"), (409, "ConditionalRequestConflict"), (0, "")])
async def test_a_put_is_tried_again_under_the_same_key_with_the_same_bytes(passing: Answer) -> None:
    async with answering([passing, passing, OK]) as (store, asked):
        assert await store.put_if_absent("landing/x", b"bytes") is True
    assert asked == [("/bucket/landing/x", "*", b"bytes")] * 3


async def test_after_an_uncertain_try_an_existing_object_is_reported_not_claimed() -> None:
    async with answering([(0, ""), EXISTS]) as (store, asked):
        assert await store.put_if_absent("landing/x", b"bytes") is False
    assert len(asked) == 2


async def test_patience_ends() -> None:
    async with answering([BUSY] * 100) as (store, _):
        store._patience_s = 0.2
        with pytest.raises(Transient, match="SlowDown"):
            await store.put_if_absent("landing/x", b"bytes")


Call = Callable[[S3Store], Awaitable[object]]


@pytest.mark.parametrize("call", [lambda s: s.put_if_absent("x", b""), lambda s: s.get("x")], ids=["put", "get"])
async def test_a_refusal_is_fatal_at_once(call: Call) -> None:
    async with answering([(403, "AccessDenied")] * 2) as (store, asked):
        with pytest.raises(Fatal, match="AccessDenied"):
            await call(store)
    assert len(asked) == 1
