"""What is written to the state store is, byte for byte, what its client would write; and who writes can be stopped."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Connection
from redis.exceptions import DataError

from dataforge.state.connection import pool

OURS = pool("redis://localhost:6379/0").connection_class()
arguments = st.text() | st.binary() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False)
words = st.sampled_from(["FCALL", "XADD", "FUNCTION LOAD", b"CONFIG GET", b"PING"])


@given(words, st.lists(arguments, max_size=30))
def test_a_command_is_packed_as_the_client_does(name: str | bytes, others: list[Any]) -> None:
    assert b"".join(OURS.pack_command(name, *others)) == b"".join(Connection().pack_command(name, *others))


def test_what_no_command_can_hold_is_an_error_of_the_clients() -> None:
    neither: Any = {"a": 1}
    with pytest.raises(DataError, match="FCALL"):
        OURS.pack_command("FCALL", neither)


@pytest.mark.parametrize("turns", range(12))
async def test_a_cancellation_is_never_lost(turns: int) -> None:
    """Whenever it comes: the client's own way of sending would swallow it in one of these turns."""

    ended = asyncio.Event()

    async def read_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            pass
        writer.close()
        ended.set()

    async with await asyncio.start_server(read_on, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connection = pool(f"redis://127.0.0.1:{port}/0", socket_timeout=5.0, protocol=2).make_connection()
        connection.driver_info = None  # this server answers no questions
        await connection.connect()
        sending = asyncio.create_task(connection.send_packed_command(b"x" * 100, check_health=False))
        for _ in range(turns):
            await asyncio.sleep(0)
        asked = sending.cancel()
        await asyncio.wait([sending])
        await connection.disconnect(nowait=True)
        await ended.wait()
    assert sending.cancelled() == asked
