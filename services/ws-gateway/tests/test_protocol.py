import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge.kpi.instants import instant

from ws_gateway import protocol
from ws_gateway.place import At, Token
from ws_gateway.protocol import CloseCode, ProtocolError
from ws_gateway.server import origin_allowed


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_protocol_error(payload: bytes):
    codes = []
    try:
        protocol.parse(payload)
    except ProtocolError as error:
        codes.append(error.code)
    assert set(codes) <= {"bad_message"}


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b'{"type": "ping", "x": ' + b"[" * 100_000])
def test_what_is_not_json_closes(payload: bytes):
    with pytest.raises(ProtocolError) as caught:
        protocol.parse(payload)
    assert caught.value.close is CloseCode.BAD_REQUEST


def test_a_wrong_field_is_named_and_does_not_close():
    with pytest.raises(ProtocolError) as caught:
        protocol.parse(b'{"type": "subscribe", "id": "a", "metric": 5}')
    assert "metric" in caught.value.message
    assert caught.value.id == "a"
    assert caught.value.close is None


def test_unknown_fields_are_for_later_versions():
    message = protocol.parse(b'{"type": "ping", "id": 1, "later": true}')
    assert message == protocol.Ping(1)


places = st.builds(
    At,
    st.just("")
    | st.builds("{}-{} {}".format, st.integers(0, 2**63), st.integers(0, 2**63), st.sampled_from(["c1", "f" * 32])),
    st.integers(0, 2**53),
    st.integers(0, 2**53),
)


@given(st.builds(Token, st.integers(0, 2**32 - 1), st.dictionaries(st.integers(0, 500), places, max_size=8)))
def test_a_token_says_where_each_partition_was(token: Token):
    assert protocol.since_of(token.encode()) == token


@given(st.text(max_size=60) | st.builds(lambda b: base64.urlsafe_b64encode(b).decode(), st.binary(max_size=60)))
def test_a_made_up_token_is_refused_by_name(text: str):
    codes = []
    try:
        protocol.since_of(text)
    except ProtocolError as error:
        codes.append(error.code)
    assert set(codes) <= {"bad_token"}


@pytest.mark.parametrize("cursor", ["x", "1-0", "1-0 ", "-1-0 c", "1-x c", f"{10**20}-0 c"])
def test_a_token_with_a_place_that_is_none_is_refused(cursor: str):
    with pytest.raises(ProtocolError, match="not a token"):
        protocol.since_of(Token(1, {0: At(cursor)}).encode())


def test_instants_are_iso_utc_with_milliseconds():
    assert instant(1_700_000_000_123) == "2023-11-14T22:13:20.123Z"


def test_errors_leave_empty_fields_out():
    frame = protocol.encode(protocol.error_of(ProtocolError("x", "y")))
    assert json.loads(frame) == {"type": "error", "code": "x", "message": "y"}


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("http://localhost:5173", True),
        ("https://localhost:5173", False),
        ("http://localhost.evil.example:80", False),
        ("http://gateway:8081", True),
        ("https://dash.example", True),
        ("https://dash.example:444", False),
        ("null", False),
    ],
)
def test_origins(origin: str | None, allowed: bool):
    assert origin_allowed(origin, "gateway:8081", ("http://localhost:*", "https://dash.example")) is allowed
