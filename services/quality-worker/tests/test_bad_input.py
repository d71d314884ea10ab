"""Walks docs/bad_input.md: every row is an input built here, and gets the outcome the table promises."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from dataforge.contracts.model import EventType
from dataforge.stream.records import LogRecord

from purchase_events import GOOD, NOW_MS, PURCHASE, ROOT, bytes_of
from quality_worker.judge import Judge

DEEP = b"[" * 100_000 + b"]" * 100_000

Input = tuple[bytes | None, bytes | None, EventType]
"""(value, key, event type)"""


def closed() -> EventType:
    contract = replace(PURCHASE.contract, schema={**PURCHASE.contract.schema, "additionalProperties": False})
    return replace(PURCHASE, contract=contract)


def with_raw(field: str, raw: bytes) -> bytes:
    return bytes_of(**{field: "@@"}).replace(b'"@@"', raw)


VALUES: dict[str, Callable[[], bytes | None]] = {
    "a good event": bytes_of,
    "an extra field (the contract is open)": lambda: bytes_of(note="hello"),
    "space before the colons": lambda: bytes_of().replace(b'":', b'" : '),
    "an unknown number beyond 64 bits": lambda: with_raw("note", b"9" * 5_000),
    "no bytes": lambda: b"",
    "no value (a tombstone)": lambda: None,
    "not JSON": lambda: b"household=900&basket=1",
    "JSON cut off": lambda: bytes_of()[:-5],
    "NaN": lambda: with_raw("sales_value", b"NaN"),
    "Infinity": lambda: with_raw("sales_value", b"-Infinity"),
    "invalid UTF-8 in a field": lambda: with_raw("event_id", b'"\xc3\x28"'),
    "invalid UTF-8 in an unknown field": lambda: with_raw("note", b'"\xff\xfe"'),
    "100,000 deep in an unknown field": lambda: with_raw("note", DEEP),
    "100,000 deep in a field": lambda: with_raw("quantity", DEEP),
    "Confluent wire format": lambda: b"\x00\x00\x00\x00\x2a\x02\x04",
    "more than 8 MiB, however small it was compressed": lambda: bytes_of(note="x" * 8 * 1024 * 1024),
    "a wrong type and then a syntax error": lambda: b'{"event_id": 1, "quantity": }',
    "a JSON array": lambda: b"[1, 2]",
    "a wrong type": lambda: bytes_of(quantity="three"),
    "a 5 MB value in a number field": lambda: bytes_of(sales_value="9" * 5_000_000),
    "a 5 MB string": lambda: bytes_of(event_id="x" * 5_000_000),
    "a missing field": lambda: json.dumps({k: v for k, v in GOOD.items() if k != "store_id"}).encode(),
    "an extra field (closed contract)": lambda: bytes_of(note="hello"),
    "null where none may be": lambda: bytes_of(quantity=None),
    "a key twice": lambda: bytes_of()[:-1] + b',"quantity":1000}',
    "a key twice, once escaped": lambda: bytes_of()[:-1] + b',"quan\\u0074ity":1000}',
    "a key twice in an unknown object": lambda: with_raw("note", b'{"a":1,"a":2}'),
    "a number beyond 64 bits": lambda: with_raw("basket_id", b"123456789012345678901234567890"),
    "a number below the minimum": lambda: bytes_of(quantity=-1),
    "a number of 5,000 digits": lambda: with_raw("basket_id", b"9" * 5_000),
    "a number no double can hold": lambda: with_raw("sales_value", b"1e400"),
    "half a surrogate pair": lambda: with_raw("note", rb'"\ud800"'),
    "brackets inside a text": lambda: bytes_of(note="[{" * 1_000),
    "256 deep in an unknown field": lambda: with_raw("note", b"[" * 256 + b"]" * 256),
    "an empty id": lambda: bytes_of(event_id=""),
    "three decimals of money": lambda: bytes_of(sales_value=1.005),
    "no key": bytes_of,
    "no time zone": lambda: bytes_of(occurred_at="2026-11-21T07:59:59"),
    "a time that is none": lambda: bytes_of(occurred_at="yesterday"),
    "a year ahead": lambda: bytes_of(occurred_at="2027-11-21T08:00:00Z"),
    "in 1970": lambda: bytes_of(occurred_at="1970-01-01T00:01:00Z"),
    "quantity 0 (rule no_units)": lambda: bytes_of(quantity=0),
    "sales value 0 (rule free_item warns)": lambda: bytes_of(sales_value=0),
}


def table() -> list[tuple[str, str, str]]:
    rows = []
    for line in (ROOT / "docs" / "bad_input.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[1] in ("valid", "quarantined", "undecodable"):
            rows.append((cells[0], cells[1], cells[2]))
    return rows


def test_the_table_and_the_inputs_here_name_the_same_rows() -> None:
    assert sorted(row[0] for row in table()) == sorted(VALUES)


@pytest.mark.parametrize(("name", "verdict", "reason"), table(), ids=[row[0] for row in table()])
def test_each_row_of_the_table_is_what_happens(name: str, verdict: str, reason: str) -> None:
    key = None if name == "no key" else b"900"
    event = closed() if "closed" in name else PURCHASE
    record = LogRecord(7, NOW_MS, key, VALUES[name]())
    judgement = Judge(event).judge(record)
    assert (judgement.verdict.name.lower(), judgement.reason) == (verdict, reason), judgement.detail
    assert bool(judgement.detail) == (verdict != "valid")
    assert judgement.warnings == (("free_item",) if "free_item" in name else ())
