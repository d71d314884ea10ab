"""Decoding by a contract: what msgspec takes over and what it leaves to jsonschema-rs; decimals; projections."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge.contracts.compile import MAX_SAFE, compile_contract, is_scaled, projection, scaled, time_ms
from dataforge.contracts.load import load_domain
from dataforge.contracts.model import Contract

from shop import CONTRACT, contract_with, write_shop


def contract_of(folder: Path, text: str = CONTRACT) -> Contract:
    return load_domain(write_shop(folder, order__v1__json=text)).event("order").contract


EVENT = {"order": "o", "at": "2026-11-21T08:00:00.123456+02:00", "customer": "c", "sku": "A1", "amount": 3.99}


@given(st.integers(-MAX_SAFE, MAX_SAFE), st.integers(1, 9))
def test_a_decimal_of_15_digits_is_exactly_itself(whole: int, scale: int) -> None:
    value = float(Decimal(whole).scaleb(-scale))
    assert is_scaled(value, scale)
    assert scaled(value, scale) == whole


@given(st.integers(-(10**9), 10**9), st.integers(1, 6), st.integers(1, 9))
def test_a_digit_too_many_is_noticed(whole: int, scale: int, digit: int) -> None:
    assert not is_scaled(float(Decimal(whole * 10 + digit).scaleb(-scale - 1)), scale)


@pytest.mark.parametrize("value", [1e300, -1e300, float(2**53), 1e13 + 0.25])
def test_what_a_double_cannot_hold_to_the_last_digit_is_no_decimal(value: float) -> None:
    assert not is_scaled(value, 3)


def test_event_times_are_whole_milliseconds_cut_off(tmp_path: Path) -> None:
    read = time_ms(contract_of(tmp_path))
    assert read(datetime(2026, 11, 21, 6, 0, 0, 123_999, UTC)) == 1_795_240_800_123
    assert read(datetime(1969, 12, 31, 23, 59, 59, 999_500, UTC)) == -1


# A field's schema, values it allows, values it does not; True where msgspec checks it alone.
FIELDS: list[tuple[dict[str, Any], list[Any], list[Any], bool]] = [
    ({"type": "integer", "minimum": 1, "maximum": 3}, [1, 3], [0, 4], True),
    ({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 4}, [2, 3], [1, 4], True),
    ({"type": "integer", "minimum": 0, "exclusiveMinimum": 0}, [1], [0], False),
    ({"type": "integer", "minimum": 0.5}, [1], [0], False),
    ({"type": "integer", "maximum": 10**30}, [2**63 - 1], [], False),
    ({"type": "integer", "multipleOf": 5}, [10], [11], True),
    ({"type": "integer", "enum": [1, 2]}, [1], [3], False),
    ({"type": "integer", "const": 1}, [1], [2], False),
    ({"type": "number", "minimum": 0.5}, [0.5, 1], [0.25], True),
    ({"type": "number", "multipleOf": 0.5}, [1.5], [1.25], False),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "äöü"], ["a", "abcd"], True),
    ({"type": "string", "pattern": "^[a-z]+$"}, ["ab"], ["1"], True),
    ({"type": "string", "pattern": "^\\p{Lu}"}, ["Ä"], ["ä"], False),
    ({"type": "string", "enum": ["a", "b"]}, ["a"], ["c"], True),
    ({"type": ["string", "null"], "enum": ["a", None]}, ["a", None], ["c"], True),
    ({"type": ["string", "null"], "enum": [None]}, [None], ["c"], False),
    ({"type": "array", "items": {"type": "integer"}, "maxItems": 1}, [[], [1]], [["x"], [1, 2]], False),
    ({"type": "object", "required": ["a"]}, [{"a": 1}], [{}], False),
    ({"type": "boolean", "not": {"const": False}}, [True], [False], False),
]


@pytest.mark.parametrize(("spec", "good", "bad", "alone"), FIELDS, ids=[json.dumps(f[0]) for f in FIELDS])
def test_every_keyword_is_checked_by_one_or_the_other(
    tmp_path: Path, spec: dict[str, Any], good: list[Any], bad: list[Any], alone: bool
) -> None:
    contract = contract_of(tmp_path, contract_with(x=spec))
    compiled = compile_contract(contract)
    reference = jsonschema_rs.Draft202012Validator(dict(contract.schema))
    assert (compiled.validate is None) == alone

    def takes(event: dict[str, Any]) -> bool:
        try:
            compiled.decoder.decode(json.dumps(event).encode())
        except msgspec.ValidationError:
            return False
        return compiled.validate is None or compiled.validate(event) is None

    for value in [*good, *bad]:
        event = EVENT | {"x": value}
        assert takes(event) == reference.is_valid(event) == (value in good), value
    assert takes(EVENT)


def test_a_pattern_on_the_event_time_is_checked_too(tmp_path: Path) -> None:
    text = CONTRACT.replace('"format": "date-time"', '"format": "date-time", "pattern": "Z$"')
    validate = compile_contract(contract_of(tmp_path, text)).validate
    assert validate is not None
    assert "at" in (validate(EVENT) or "")
    assert validate(EVENT | {"at": "2026-11-21T08:00:00Z"}) is None


def test_a_projection_reads_just_these_fields(tmp_path: Path) -> None:
    found = projection(contract_of(tmp_path), ["amount", "at", "weight"])
    event = found.decoder.decode(json.dumps(EVENT | {"tags": [{"deep": 1}]}).encode())
    read = {name: getattr(event, attribute) for name, attribute in found.attributes.items()}
    assert read == {"amount": 3.99, "at": datetime(2026, 11, 21, 6, 0, 0, 123_456, UTC), "weight": None}
