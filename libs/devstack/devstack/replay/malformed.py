"""Every kind of bad input the platform must live with, made from a good event. Pure.

One kind is bad only to some: `extra_field` is an event of its own that an open contract lets through.
"""

import json
import struct
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]

HUGE = "huge_value"
HUGE_BYTES = 5_000_000
NESTING = 100_000
_MINUTE_MS = 60_000
YEAR_MS = 365 * 24 * 60 * _MINUTE_MS


def _json(event: Event) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


def _with(event: Event, **changed: Any) -> bytes:
    return _json(event | changed)


def _raw(event: Event, field: str, literal: bytes) -> bytes:
    """The event with one field's value given as bytes, whatever they are."""
    mark = "\u0000"
    return _with(event, **{field: mark}).replace(json.dumps(mark).encode(), literal)


def _not_json(event: Event) -> bytes:
    return b"household=%d&basket=%d" % (event["household_id"], event["basket_id"])


def _missing_field(event: Event) -> bytes:
    return _json({name: value for name, value in event.items() if name != "store_id"})


def _duplicate_keys(event: Event) -> bytes:
    return _json(event)[:-1] + b',"quantity":1000}'


def _confluent(event: Event) -> bytes:
    """Magic byte 0, a schema id, then what Avro would write."""
    return struct.pack(">bI", 0, 42) + struct.pack(">qqd", event["basket_id"], event["product_id"], 1.0)


_MAKERS: dict[str, Callable[[Event], bytes | None]] = {
    "not_json": _not_json,
    "wrong_type": lambda e: _with(e, quantity="three"),
    "missing_field": _missing_field,
    "extra_field": lambda e: _with(e, note="loyalty week"),
    HUGE: lambda e: _with(e, sales_value="9" * HUGE_BYTES),
    "deep_nesting": lambda e: _raw(e, "note", b"[" * NESTING + b"]" * NESTING),
    "invalid_utf8": lambda e: _raw(e, "event_id", b'"\xc3\x28"'),
    "invalid_utf8_unknown_field": lambda e: _raw(e, "note", b'"\xff\xfe"'),
    "nan": lambda e: _raw(e, "sales_value", b"NaN"),
    "infinity": lambda e: _raw(e, "sales_value", b"-Infinity"),
    "duplicate_keys": _duplicate_keys,
    "beyond_64_bits": lambda e: _raw(e, "basket_id", b"123456789012345678901234567890"),
    "null_key": _json,
    "empty_value": lambda _: b"",
    "tombstone": lambda _: None,
    "year_ahead": _json,
    "in_1970": _json,
    "confluent": _confluent,
}
KINDS = tuple(_MAKERS)

_SHIFT_MS = {"year_ahead": YEAR_MS}


def event_ms_of(kind: str, planned_ms: int) -> int:
    """Event time of a malformed record that would have happened at `planned_ms` (both since the epoch)."""
    return _MINUTE_MS if kind == "in_1970" else planned_ms + _SHIFT_MS.get(kind, 0)


def make(kind: str, event: Event) -> bytes | None:
    """The value of a malformed record; None is a tombstone."""
    return _MAKERS[kind](event)
