"""Events made wrong, one way or several: first as documents, then as bytes, key and append time. Seeded.

Mutations know the contract's field types, so that most records stay close to good ones: random bytes alone would
never come further than the parser.
"""

import json
import random
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

from dataforge.contracts.model import Contract
from dataforge.stream.records import LogRecord

Document = dict[str, Any]
OfDocument = Callable[[random.Random, Document, Contract, int], None]
OfBytes = Callable[[random.Random, bytes], bytes | None]

DAY_MS = 86_400_000
ANYTHING: Sequence[Any] = ("x", "", 1, -1, 1.5, True, False, None, [], {}, [1, [2]], {"a": {"b": []}}, "1", "null")
NUMBERS: Sequence[Any] = (
    0, -1, 1, -0.0, 1.0, 2.0, 0.1 + 0.2, 1.005, 123.456789012, 1e-320, 5e-324, 1e15, 1e16, 1e17, 1e22, 1e308, -1e308,
    10**15 - 1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**30, 10**400,
)  # fmt: skip
TEXTS: Sequence[str] = (
    "", " ", "x" * 64, "x" * 65, "x" * 256, "x" * 257, "x" * 5_000, "\0", "\x1f", '"', '\\"', "\\", "[{" * 300, "😀",
    "\u2028", "\ufeff", "é" * 65, "null", "1e5", "A-12", "A-123\n", "special",
)  # fmt: skip
TIMES: Sequence[str] = (
    "yesterday", "", "2026-11-21", "2026-11-21T08:00:00", "2026-11-21 08:00:00Z", "2026-11-21t08:00:00z",
    "2026-02-30T00:00:00Z", "2026-11-21T24:00:00Z", "2026-11-21T23:59:60Z", "2026-11-21T08:00:00+24:00",
    "2026-11-21T08:00:00.123456789012Z", "2026-11-21T08:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+14:00", "0000-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z",
    "2026-11-21T08:00:00-00:00", "+2026-11-21T08:00:00Z", "２０２６-11-21T08:00:00Z",
)  # fmt: skip
MOMENTS_MS: Sequence[int] = (
    -400 * DAY_MS, -366 * DAY_MS, -366 * DAY_MS - 1, -31 * DAY_MS, -DAY_MS, -60_000, -1, 0, 1, 3_599_999, 3_600_001,
    DAY_MS - 1, DAY_MS, DAY_MS + 1, 2 * DAY_MS, 400 * DAY_MS,
)  # fmt: skip
JSON_BYTES = b'{}[]",:\\/0123456789.eE+-truefalsn u\x00'
DEPTHS = (1, 2, 100, 254, 255, 256, 257, 300, 1_000, 5_000)


def _anything(r: random.Random, *more: Any) -> Any:
    """A copy: a later mutation may change what is inside."""
    return deepcopy(r.choice((*ANYTHING, *more)))


def _any_field(r: random.Random, document: Document) -> str:
    return r.choice(list(document) or ["nothing"])


def _field(r: random.Random, contract: Contract, types: Sequence[str]) -> str:
    return r.choice([name for name, field in contract.fields.items() if field.type in types] or ["nothing"])


def _remove(r: random.Random, document: Document, contract: Contract, _: int) -> None:
    document.pop(_any_field(r, document), None)


def _null(r: random.Random, document: Document, contract: Contract, _: int) -> None:
    document[_any_field(r, document)] = None


def _swap_type(r: random.Random, document: Document, contract: Contract, _: int) -> None:
    document[_any_field(r, document)] = _anything(r)


def _number(r: random.Random, document: Document, contract: Contract, _: int) -> None:
    document[_field(r, contract, ("integer", "number"))] = r.choice(NUMBERS)


def _decimals(r: random.Random, document: Document, contract: Contract, _: int) -> None:
    names = [name for name, field in contract.fields.items() if field.scale]
    if names:
        document[r.choice(names)] = r.randint(-(10**9), 10**9) / 10 ** r.randint(0, 8)


def _text(r: random.Random, document: Document, contract: Contract, _: int) -> None:
    document[_field(r, contract, ("string",))] = r.choice(TEXTS)


def _bad_time(r: random.Random, document: Document, contract: Contract, now_ms: int) -> None:
    formats = {"date-time": TIMES, "epoch_ms": (*NUMBERS, "now", None), "epoch_s": (*NUMBERS, now_ms, "now")}
    document[contract.time_field] = r.choice(formats[contract.time_format])


def _moment(r: random.Random, document: Document, contract: Contract, now_ms: int) -> None:
    document[contract.time_field] = as_time(contract, now_ms + r.choice(MOMENTS_MS), r)


def _extra(r: random.Random, document: Document, contract: Contract, _: int) -> None:
    document[r.choice(["note", "", "e", "id ", "\u0000"])] = _anything(r, *NUMBERS)


def _mix_up(r: random.Random, document: Document, contract: Contract, _: int) -> None:
    one, other = _any_field(r, document), _any_field(r, document)
    document[one], document[other] = document.get(other), document.get(one)


def _inner(r: random.Random, document: Document, contract: Contract, _: int) -> None:
    """Something wrong within an object or array."""
    inside = [value for value in document.values() if isinstance(value, dict | list) and value]
    if not inside:
        return
    target = r.choice(inside)
    if isinstance(target, list):
        target[r.randrange(len(target))] = _anything(r, target[0])
    else:
        target[r.choice([*target, "more"])] = _anything(r, *NUMBERS)


def _many(r: random.Random, document: Document, contract: Contract, _: int) -> None:
    for name, value in document.items():
        if isinstance(value, list):
            document[name] = value * r.randint(0, 5)


OF_DOCUMENT: Sequence[OfDocument] = (
    _remove, _null, _swap_type, _number, _decimals, _text, _bad_time, _moment, _moment, _extra, _mix_up, _inner, _many,
)  # fmt: skip


def as_time(contract: Contract, at_ms: int, r: random.Random) -> Any:
    if contract.time_format == "epoch_ms":
        return at_ms
    if contract.time_format == "epoch_s":
        return at_ms // 1_000
    zone = timedelta(minutes=r.choice([0, 0, 330, -480, 840]))
    local = datetime.fromtimestamp(at_ms / 1_000, UTC) + zone
    sign, minutes = "-" if zone < timedelta(0) else "+", abs(zone) // timedelta(minutes=1)
    return f"{local:%Y-%m-%dT%H:%M:%S}.{at_ms % 1_000:03}{sign}{minutes // 60:02}:{minutes % 60:02}"


def _truncated(r: random.Random, value: bytes) -> bytes:
    return value[: r.randrange(len(value) + 1)]


def _flipped(r: random.Random, value: bytes) -> bytes:
    flipped = bytearray(value)
    for _ in range(r.randint(1, 4)):
        flipped[r.randrange(len(flipped))] ^= 1 << r.randrange(8)
    return bytes(flipped)


def _spliced(r: random.Random, value: bytes) -> bytes:
    at = r.randrange(len(value))
    middle = r.choice([b"", r.randbytes(r.randint(1, 4)), b'"', b"\\", b",", b"}", value[at : at + 9], b"/**/", b"\0"])
    return value[:at] + middle + value[at + r.randint(0, 3) :]


def _key_twice(r: random.Random, value: bytes) -> bytes:
    keys = re.findall(rb'"[^"\\]*":', value) or [b'"a":']
    key = r.choice(keys)
    if r.random() < 0.5 and len(key) > 3 and key[1] < 128:
        key = b'"\\u%04x' % key[1] + key[2:]
    return value[:-1] + b"," + key + r.choice([b"1", b'"x"', b"null", b"{}"]) + b"}"


def _inner_key_twice(r: random.Random, value: bytes) -> bytes:
    return value[:-1] + r.choice([b',"note":{"a":1,"a":2}}', b',"note":[{"a":1,"\\u0061":2}]}'])


def _not_utf8(r: random.Random, value: bytes) -> bytes:
    quotes = [match.end() for match in re.finditer(rb'"', value)] or [0]
    at = r.choice(quotes)
    bad = r.choice([b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\xaf", b"\x80"])
    return value[:at] + bad + value[at:]


def _half_pair(r: random.Random, value: bytes) -> bytes:
    return value.replace(b'":"', b'":"' + r.choice([rb"\ud800", rb"\udfff", rb"\ud83d\ude00", rb"\u00e9"]), 1)


def _nested(r: random.Random, value: bytes) -> bytes:
    depth = r.choice(DEPTHS)
    deep = b"[" * depth + b"]" * depth if r.random() < 0.5 else b'{"a":' * depth + b"1" + b"}" * depth
    if r.random() < 0.1:
        deep = deep[: len(deep) // 2]
    if r.random() < 0.5:
        return value[:-1] + b',"note":' + deep + b"}"
    return re.sub(rb"(?<=:)[^,}]*", lambda _: deep, value, count=1)


def _huge_number(r: random.Random, value: bytes) -> bytes:
    digits = r.choice([b"9" * 20, b"9" * 400, b"1" + b"0" * 5_000, b"1e400", b"-1e999", b"0." + b"1" * 400, b"1E+2"])
    return re.sub(rb"(?<=:)-?[0-9.]+", lambda _: digits, value, count=r.randint(1, 3))


def _not_json(r: random.Random, value: bytes) -> bytes:
    wrong = r.choice([b"NaN", b"Infinity", b"-Infinity", b"undefined", b"01", b"+1", b".5", b"1.", b"'x'", b"True"])
    return re.sub(rb"(?<=:)[^,}]*", lambda _: wrong, value, count=1)


def _confluent(r: random.Random, value: bytes) -> bytes:
    return b"\0" + r.randbytes(4) + value[: r.choice([0, len(value)])]


def _surrounded(r: random.Random, value: bytes) -> bytes:
    before, after = r.choice([(b"\xef\xbb\xbf", b""), (b" \n\t", b"\r\n"), (b"[", b"]"), (b"", value), (b"", b"x")])
    return before + value + after


def _utf16(r: random.Random, value: bytes) -> bytes:
    return value.decode("utf-8", "replace").encode("utf-16")


def _nothing(r: random.Random, value: bytes) -> bytes | None:
    return r.choice([None, b""])


OF_BYTES: Sequence[OfBytes] = (
    _truncated, _flipped, _flipped, _spliced, _spliced, _key_twice, _inner_key_twice, _not_utf8, _half_pair, _nested,
    _huge_number, _not_json, _confluent, _surrounded, _utf16, _nothing,
)  # fmt: skip


def written(r: random.Random, document: Document) -> bytes:
    """One of the ways to write it."""
    separators, indent = r.choice([((",", ":"), None)] * 3 + [(None, None), (None, 1)])
    text = json.dumps(document, ensure_ascii=r.random() < 0.5, separators=separators, indent=indent)
    return text.encode("utf-8", "surrogatepass")


def mutated(r: random.Random, document: Document, contract: Contract, offset: int, now_ms: int) -> LogRecord:
    """A record of this document after one to three mutations."""
    of_document = r.choice([0, 1, 1, 2])
    for _ in range(of_document):
        r.choice(OF_DOCUMENT)(r, document, contract, now_ms)
    value: bytes | None = written(r, document)
    if of_document == 0 or r.random() < 0.2:
        value = r.choice(OF_BYTES)(r, value)
    key = None if r.random() < 0.05 else b"k"
    ts = now_ms if r.random() < 0.98 else r.choice([now_ms - 1, now_ms - 60_000, now_ms - DAY_MS])
    return LogRecord(offset, ts, key, value)


def noise(r: random.Random, offset: int, now_ms: int) -> LogRecord:
    """Bytes that nobody meant to be anything; half of them from JSON's alphabet."""
    size = r.choice([1, 2, 5, 20, 200])
    value = r.randbytes(size) if r.random() < 0.5 else bytes(r.choices(JSON_BYTES, k=size))
    return LogRecord(offset, now_ms, r.choice([None, b"", b"\xff"]), value)
