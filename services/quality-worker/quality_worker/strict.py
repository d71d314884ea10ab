"""Where the fast decoder is too lenient: duplicate keys, invalid UTF-8 in unknown fields, depth. Pure.

msgspec takes the last of duplicate keys, skips what it does not know without reading it as text, and raises
RecursionError on deep nesting. Each is closed here, at the least cost to good records.
"""

import json
from typing import Any

import msgspec

from dataforge.errors import Rejected

from quality_worker.reasons import Reason

_SPACED_COLONS = (b" :", b"\t:", b"\n:", b"\r:")


def check_text(value: bytes) -> None:
    """*Raises* `Rejected`: empty, Confluent's wire format, or not UTF-8."""
    if not value:
        raise Rejected(Reason.EMPTY_VALUE, "the record has no value (a tombstone, or zero bytes)", parses=False)
    if value[0] == 0 and len(value) >= 5:
        schema = int.from_bytes(value[1:5], "big")
        detail = f"Confluent wire format with schema id {schema}; no schema registry is set up, so send plain JSON"
        raise Rejected(Reason.UNKNOWN_SCHEMA, detail, parses=False)
    if not value.isascii():
        try:
            value.decode()
        except UnicodeDecodeError as error:
            raise Rejected(Reason.INVALID_UTF8, f"byte {error.start} is not UTF-8", parses=False) from None


def check_keys(value: bytes, fields: int) -> None:
    """*Raises* `Rejected` where an object, at any depth, has a key twice.

    `fields` distinct keys of the event are known to be there. Every key ends in `":` unless space stands
    between, so if there are no more such ends than fields, no key is there twice, and nothing else is there
    at all; only otherwise is the slow look worth it.
    """
    if value.count(b'":') == fields and not any(spaced in value for spaced in _SPACED_COLONS):
        return
    try:
        json.loads(value, object_pairs_hook=_distinct, parse_int=_ignored, parse_float=_ignored)
    except RecursionError:
        raise _too_deep() from None


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    """Values do not matter here; an object reads as None."""
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise Rejected(Reason.DUPLICATE_KEYS, f"the key {key[:100]!r} is there twice; which one is meant?")
        seen.add(key)


def _ignored(_: str) -> None:
    """Numbers do not matter here either, and Python refuses to read very long ones."""


def parse(value: bytes) -> Any:
    """Read the whole document, whatever it says. *Raises* `Rejected` where it is none."""
    try:
        return msgspec.json.decode(value)
    except RecursionError:
        raise _too_deep() from None
    except msgspec.DecodeError as error:
        raise Rejected(Reason.NOT_JSON, str(error), parses=False) from None


def _too_deep() -> Rejected:
    return Rejected(Reason.TOO_DEEP, "nested deeper than any reader goes (about 1,000 levels)", parses=False)
