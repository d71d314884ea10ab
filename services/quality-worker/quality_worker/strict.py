"""Where the fast decoder is too lenient: duplicate keys, invalid UTF-8 in unknown fields, depth. Pure.

msgspec takes the last of duplicate keys, skips what it does not know without reading it as text, and raises
RecursionError on deep nesting. Each is closed here, at the least cost to good records.
"""

import json
import re
from typing import Any

import msgspec

from dataforge.contracts.reasons import Reason
from dataforge.errors import Rejected

MAX_DEPTH = 256
"""Objects and arrays inside each other. Decoders give up at about 1,000 less what is on the stack already; a limit
of our own, well below, is the same in every process."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKET = re.compile(rb"[][{}]")
_skim = msgspec.json.Decoder(msgspec.Raw).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


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


def check_depth(value: bytes) -> None:
    """*Raises* `Rejected` where more than `MAX_DEPTH` objects and arrays are open at once."""
    if len(value) <= MAX_DEPTH or value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", value)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise Rejected(Reason.TOO_DEEP, f"nested more than {MAX_DEPTH} levels deep", parses=False)


def plain_keys(value: bytes, quotes: int) -> bool:
    """Whether the keys and texts a decoder has found are all there are. `quotes`: two for each of them.

    Whatever else the document holds, a key there twice or one nobody asked for, brings quotes of its own, and
    so does a quote inside a text: there can seem to be more than there is, never less. False only means that a
    slow look is due.
    """
    return value.count(b'"') == quotes


def distinct_keys(value: bytes) -> bool:
    """Whether an object's keys are told apart at a glance, those nobody asked for too: a key that is there twice, in
    whatever way it is written, is one key here, and leaves a colon and quotes over. False only means that a slower look
    is due.
    """
    try:
        fields = _fields(value)
    except (msgspec.DecodeError, RecursionError):
        return False
    if value.count(b":") == len(fields):  # no text has one, as times do, and no key is inside a value
        return True
    values = b"".join(fields.values())
    return b"{" not in values and plain_keys(value, 2 * len(fields) + values.count(b'"'))


def check_keys(value: bytes) -> None:
    """The slow look. *Raises* `Rejected` where an object, at any depth, has a key twice."""
    check_depth(value)
    if distinct_keys(value):
        return
    json.loads(value, object_pairs_hook=_distinct, parse_int=_ignored, parse_float=_ignored)


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    """Values do not matter here; an object reads as None."""
    if len(pairs) == len({key for key, _ in pairs}):
        return
    names = [key for key, _ in pairs]
    twice = next(name for n, name in enumerate(names) if name in names[:n])
    raise Rejected(Reason.DUPLICATE_KEYS, f"the key {twice[:100]!r} is there twice; which one is meant?")


def _ignored(_: str) -> None:
    """Numbers do not matter here either, and Python refuses to read very long ones."""


def check_syntax(value: bytes) -> None:
    """*Raises* `Rejected` where the bytes are no JSON document. Numbers of any size are numbers."""
    check_depth(value)
    try:
        _skim(value)
    except msgspec.DecodeError as error:
        raise Rejected(Reason.NOT_JSON, str(error), parses=False) from None
