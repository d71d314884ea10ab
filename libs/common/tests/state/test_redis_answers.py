"""What `RedisState` makes of a server's answers, asked of a server that gives them in order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from dataforge.errors import Fatal, Transient
from dataforge.state.model import Commit, Settlement
from dataforge.state.redis import RedisState

FULL = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
HANG_UP = b""
LOADING = b"-LOADING Valkey is loading the dataset in memory\r\n"
PONG = b"+PONG\r\n"
USUAL = {b"HELLO": b"%1\r\n$5\r\nproto\r\n:3\r\n", b"HGETALL": b"%0\r\n"}


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[RedisState, list[bytes]]]:
    """A state before a server that gives these answers to pings and function calls; and what it was asked."""
    asked: list[bytes] = []
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            words: list[bytes] = []
            for _ in range(int(head[1:])):
                size = int((await reader.readline())[1:])
                words.append((await reader.readexactly(size + 2))[:-2])
            answer = USUAL.get(words[0], b"+OK\r\n")
            if words[0] in (b"FCALL", b"PING"):
                asked.append(words[:2][-1])
                answer = left.pop(0)
            if answer == HANG_UP:
                break
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    state = RedisState(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_s=5)
    try:
        yield state, asked
    finally:
        await state.close()
        server.close()


async def test_a_full_store_is_transient_for_a_claim_and_for_a_commit() -> None:
    async with answering(FULL, FULL, b"*1\r\n$4\r\nfull\r\n") as (state, asked):
        with pytest.raises(Transient, match="out of memory"):
            await state.claim("n", 0, "one")
        with pytest.raises(Transient, match="out of memory"):
            await state.commit("n", 0, Commit("one", 0, 1, {}))
        functions = [b"df_claim", b"df_commit", b"df_commit_freeing"]
        assert [name.rpartition(b"_")[0] for name in asked] == functions


async def test_a_commit_without_an_answer_is_fatal_and_not_sent_again() -> None:
    async with answering(HANG_UP) as (state, asked):
        with pytest.raises(Fatal, match="unknown"):
            await state.commit("n", 0, Commit("one", 0, 1, {}))
        assert [name.rpartition(b"_")[0] for name in asked] == [b"df_commit"]


async def unanswered() -> RedisState:
    """A state whose server has just gone."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return RedisState(f"redis://127.0.0.1:{port}", timeout_s=5)


async def test_what_may_be_repeated_is_transient_while_the_server_is_away() -> None:
    state = await unanswered()
    calls: list[Callable[[], Awaitable[object]]] = [
        state.ping,
        lambda: state.claim("n", 0, "one"),
        lambda: state.load("n", 0, 0),
        lambda: state.owner("n", 0),
        lambda: state.watermarks("n", [0, 1]),
        lambda: state.settle("n", 0, Settlement("one", 0, 1, b"")),
        lambda: state.read("n", 0, "t", 1_000, 0, 1_000),
        lambda: state.head("n", 0),
        lambda: state.feed({("n", 0): "0-0"}, 1),
        lambda: state.feed_range("n", 0, "", "1-0"),
        lambda: state.ledger("n", 0),
        lambda: state.commit("n", 0, Commit("one", 0, 1, {})),  # nothing of it was sent
    ]
    for call in calls:
        with pytest.raises(Transient, match="does not answer"):
            await call()
    await state.close()


async def test_a_commit_that_a_loading_server_refused_was_not_done() -> None:
    async with answering(LOADING) as (state, _):
        with pytest.raises(Transient, match="does not answer"):
            await state.commit("n", 0, Commit("one", 0, 1, {}))


async def test_a_server_that_hangs_up_on_a_claim_may_be_asked_again() -> None:
    async with answering(HANG_UP) as (state, _):
        with pytest.raises(Transient, match="does not answer"):
            await state.claim("n", 0, "one")


async def test_a_read_survives_that_the_server_was_away_in_between() -> None:
    """Connections that lie idle end with the server; whoever reads next is not to hear of it."""
    async with answering(*[PONG] * 3) as (state, _):
        await asyncio.gather(*(state.ping() for _ in range(3)))
        idle = list(state._redis.connection_pool._available_connections)
        for connection in idle:
            connection._writer.transport.abort()  # pyright: ignore[reportOptionalMemberAccess]
        assert len(idle) > 1
        assert await state.ledger("n", 0) == {}


async def test_a_server_that_is_not_up_yet_is_away() -> None:
    async with answering(LOADING, HANG_UP, PONG) as (state, _):
        for _ in range(2):
            with pytest.raises(Transient, match="does not answer"):
                await state.ping()
        await state.ping()


def test_a_connection_reset_before_a_commit_was_sent_is_transient() -> None:
    """uvloop, which the services run on, says so: nothing was written."""

    async def scene() -> None:
        async with answering(PONG) as (state, asked):
            await state.ping()
            (connection,) = state._redis.connection_pool._available_connections
            connection._writer.transport.abort()  # pyright: ignore[reportOptionalMemberAccess]
            with pytest.raises(Transient):
                await state.commit("n", 0, Commit("one", 0, 1, {}))
            assert asked == [b"PING"]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())
