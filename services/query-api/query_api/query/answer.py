"""Rows as JSON, the same whichever engine they come from. Pure."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

_encode = msgspec.json.Encoder(decimal_format="number").encode
_WORDS = {
    "HUGEINT": "decimal(38,0)",
    "TIMESTAMP WITH TIME ZONE": "timestamp with time zone",
    "FLOAT": "real",
    "BLOB": "varbinary",
    "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_S": "timestamp",
}
_ITEMS = re.compile(r"array\((.*)\)")


class Column(msgspec.Struct, frozen=True):
    name: str
    type: str
    """As Athena writes it."""


class Rows(NamedTuple):
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    truncated: bool


class SnapshotInfo(msgspec.Struct, frozen=True):
    """What of a table the answer is about."""

    snapshot: str
    """Text: it has 64 bits, and a number of JSON's may not."""
    at: str


def athena_type(duckdb_type: str) -> str:
    """DuckDB's name of a type as Athena's."""
    text = duckdb_type.strip()
    if text.endswith("[]"):
        return f"array({athena_type(text[:-2])})"
    return _WORDS.get(text, text.lower().replace(", ", ","))


def plain(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    """Values that JSON has: instants as the rest of the API writes them; what is no number is null."""
    changes = {at: change for at, column in enumerate(columns) if (change := _change(column.type))}
    if not changes:
        return rows
    return [
        [changes[at](value) if at in changes and value is not None else value for at, value in enumerate(row)]
        for row in rows
    ]


def _change(kind: str) -> Callable[[Any], Any] | None:
    if kind.startswith("timestamp"):
        return _instant
    if kind in ("double", "real"):
        return _finite
    items = _ITEMS.fullmatch(kind)
    each = _change(items[1]) if items else None
    return (lambda values: [None if v is None else each(v) for v in values]) if each else None


def _instant(at: datetime) -> str:
    utc = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    digits = "microseconds" if utc.microsecond % 1_000 else "milliseconds"
    return utc.isoformat(timespec=digits).replace("+00:00", "Z")


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def content(found: Rows, snapshots: Mapping[str, SnapshotInfo]) -> bytes:
    """What is the same for everyone who asks the same: the inside of a JSON object, to be kept."""
    whole = {"columns": found.columns, "rows": found.rows, "truncated": found.truncated, "snapshots": snapshots}
    return _encode(whole)[1:-1]


def body(about: Mapping[str, Any], kept: bytes) -> bytes:
    """The whole answer: what is this one's own, then what is everyone's. *Shape*: `schemas.QueryAnswer`."""
    return b"%b,%b}" % (_encode(about)[:-1], kept)
