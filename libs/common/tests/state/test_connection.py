"""What is written to the state store is, byte for byte, what its client would write."""

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
