"""The messages of `dataforge.v1`, parsed and encoded. Pure; *Source*: docs/specs/ws.md."""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any

import msgspec

from dataforge.kpi.catalogue import Selection

from ws_gateway.place import Token, token_from

NAME = "dataforge.v1"
TOKEN_PREFIX = "dataforge.token."  # noqa: S105 - the name of a subprotocol, not a secret


class CloseCode(IntEnum):
    """Why the server closed a connection."""

    GOING_AWAY = 1001
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    TIMEOUT = 4408
    CONFLICT = 4409
    TOO_MUCH = 4429


class ProtocolError(Exception):
    """Answered by an `error` frame; with `close`, the connection ends after it."""

    def __init__(
        self,
        code: str,
        message: str,
        hint: str = "",
        *,
        close: CloseCode | None = None,
        id: str | int | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.close = close
        self.id = id
        self.retryable = retryable


def too_many_channels(most: int) -> ProtocolError:
    return ProtocolError(
        "too_many_channels",
        f"this server already keeps {most} different channels",
        "subscribe to what others watch, or try again later",
        retryable=True,
    )


# ---- from clients


class Auth(msgspec.Struct, tag="auth"):
    token: str


class Subscribe(msgspec.Struct, tag="subscribe"):
    id: str | int
    metric: str
    domain: str | None = None
    event: str | None = None
    window: str | None = None
    by: list[str] = []
    where: dict[str, str | list[str]] = {}
    since: str | None = None
    limit: int | None = None


class SubscribeLedger(msgspec.Struct, tag="subscribe_ledger"):
    id: str | int
    domain: str | None = None
    limit: int | None = None


class Unsubscribe(msgspec.Struct, tag="unsubscribe"):
    id: str | int


class Ping(msgspec.Struct, tag="ping"):
    id: str | int | None = None


ClientMessage = Auth | Subscribe | SubscribeLedger | Unsubscribe | Ping

_decoder = msgspec.json.Decoder(ClientMessage)


class _Named(msgspec.Struct):
    id: str | int | None = None


def parse(payload: bytes) -> ClientMessage:
    """*Raises* `ProtocolError`: closing where it is no JSON object at all, else naming the field that is wrong."""
    try:
        return _decoder.decode(payload)
    except msgspec.ValidationError as error:
        raise ProtocolError(
            "bad_message", str(error), "docs/specs/ws.md has every message with an example", id=_id_of(payload)
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(
            "bad_message",
            f"not a JSON message: {error}",
            "send one JSON object per text frame",
            close=CloseCode.BAD_REQUEST,
        ) from None


def _id_of(payload: bytes) -> str | int | None:
    try:
        return msgspec.json.decode(payload, type=_Named).id
    except msgspec.DecodeError:
        return None


# ---- to clients


class Row(msgspec.Struct, omit_defaults=True):
    """One label of one window. `value`: a number, null, {"p50": …}, or [{"item", "estimate", "lower", "upper"}, …]."""

    start: str
    end: str
    labels: dict[str, str]
    value: Any
    status: str
    revision: int
    corrected: bool = False
    """By the lake; left out where it is not."""


class Ready(msgspec.Struct, tag="ready"):
    protocol: str
    heartbeat_ms: int
    max_subscriptions: int


class Subscribed(msgspec.Struct, tag="subscribed"):
    id: str | int
    channel: int
    domain: str
    event: str
    metric: str
    measure: str
    unit: str
    window: str
    by: Sequence[str]
    limit: int
    error: dict[str, Any] | None


class SubscribedLedger(msgspec.Struct, tag="subscribed_ledger"):
    id: str | int
    channel: int
    domain: str
    limit: int


class LedgerRow(msgspec.Struct):
    """Counts of one partition: of one minute of append time, or all that are kept where `start` is null."""

    start: str | None
    labels: dict[str, str]
    judged: int
    valid: int
    quarantined: dict[str, int]
    undecodable: dict[str, int]
    counted: int
    duplicate: int
    late: int
    balanced: bool


class Ledger(msgspec.Struct, tag="ledger"):
    channel: int
    reset: bool
    rows: list[msgspec.Raw]
    gone: list[str]
    totals: list[msgspec.Raw]


class Resync(msgspec.Struct, tag="resync"):
    channel: int
    reason: str


class Place(msgspec.Struct):
    """Where a channel stands: what its frames cover, and the token that says so."""

    token: str
    next: dict[str, int]
    watermark: str | None


class Snapshot(msgspec.Struct, tag="snapshot"):
    channel: int
    rows: list[msgspec.Raw]
    token: str
    next: dict[str, int]
    watermark: str | None


class Delta(msgspec.Struct, tag="delta"):
    channel: int
    rows: list[msgspec.Raw]
    gone: list[str]
    token: str
    next: dict[str, int]
    watermark: str | None


class Heartbeat(msgspec.Struct, tag="heartbeat"):
    channel: int
    token: str
    next: dict[str, int]
    watermark: str | None


class Unsubscribed(msgspec.Struct, tag="unsubscribed"):
    id: str | int


class Pong(msgspec.Struct, tag="pong"):
    id: str | int | None
    at: str


class Error(msgspec.Struct, tag="error", omit_defaults=True):
    code: str
    message: str
    hint: str = ""
    id: str | int | None = None
    retryable: bool = False


ServerMessage = (
    Ready | Subscribed | SubscribedLedger | Ledger | Resync | Snapshot | Delta | Heartbeat | Unsubscribed | Pong | Error
)

encode = msgspec.json.Encoder().encode


def snapshot(channel: int, rows: Iterable[msgspec.Raw], place: Place) -> bytes:
    return encode(Snapshot(channel, list(rows), place.token, place.next, place.watermark))


def delta(channel: int, rows: Iterable[msgspec.Raw], gone: Iterable[str], place: Place) -> bytes:
    return encode(Delta(channel, list(rows), list(gone), place.token, place.next, place.watermark))


def heartbeat(channel: int, place: Place) -> bytes:
    return encode(Heartbeat(channel, place.token, place.next, place.watermark))


def error_of(error: ProtocolError) -> Error:
    return Error(error.code, error.message, error.hint, error.id, error.retryable)


def subscribed(id: str | int, channel: int, selection: Selection, limit: int) -> Subscribed:
    metric = selection.view.metric
    return Subscribed(
        id=id,
        channel=channel,
        domain=selection.domain.name,
        event=selection.event.contract.event,
        metric=metric.name,
        measure=metric.measure.kind,
        unit=metric.unit,
        window=selection.window,
        by=selection.view.by,
        limit=limit,
        error=selection.view.error(),
    )


def since_of(text: str) -> Token:
    """*Raises* `ProtocolError` where a client made the token up."""
    try:
        return token_from(text)
    except ValueError:  # binascii's and msgspec's errors are ValueErrors
        raise ProtocolError(
            "bad_token", "`since` is not a token of this server", "send a `token` as a frame carried it, or none"
        ) from None
