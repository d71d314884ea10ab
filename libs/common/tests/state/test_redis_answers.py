"""What `RedisState` makes of a server's answers, asked of a server that gives them in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from dataforge.errors import Fatal, Transient
from dataforge.state.model import Commit
from dataforge.state.redis import RedisState

FULL = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
HANG_UP = b""


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[RedisState, list[bytes]]]:
    """A state before a server that gives these answers to function calls; and the functions it was asked for."""
    asked: list[bytes] = []
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            words: list[bytes] = []
            for _ in range(int(head[1:])):
                size = int((await reader.readline())[1:])
                words.append((await reader.readexactly(size + 2))[:-2])
            answer = b"%1\r\n$5\r\nproto\r\n:3\r\n" if words[0] == b"HELLO" else b"+OK\r\n"
            if words[0] == b"FCALL":
                asked.append(words[1])
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
    async with answering(FULL, FULL) as (state, asked):
        with pytest.raises(Transient, match="out of memory"):
            await state.claim("n", 0, "one")
        with pytest.raises(Transient, match="out of memory"):
            await state.commit("n", 0, Commit("one", 0, 1, {}))
        assert [name.rpartition(b"_")[0] for name in asked] == [b"df_claim", b"df_commit"]


async def test_a_commit_without_an_answer_is_fatal_and_not_sent_again() -> None:
    async with answering(HANG_UP) as (state, asked):
        with pytest.raises(Fatal, match="unknown"):
            await state.commit("n", 0, Commit("one", 0, 1, {}))
        assert [name.rpartition(b"_")[0] for name in asked] == [b"df_commit"]
