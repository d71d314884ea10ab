"""Bad input is as bad as its name says, and nothing else about it is bad."""

import json
import struct
from typing import Any

import msgspec
import numpy as np
import pytest

from devstack.replay.encode import encode, encode_malformed, event_ids, timestamps
from devstack.replay.malformed import KINDS, YEAR_MS
from devstack.replay.plan import MALFORMED
from devstack.replay.purchases import Purchases, read_purchases

NOW_MS = 1_800_000_000_123


@pytest.fixture(scope="module")
def purchases() -> Purchases:
    return read_purchases(len(KINDS))


@pytest.fixture(scope="module")
def values(purchases: Purchases) -> dict[str, bytes | None]:
    every = np.arange(len(KINDS))
    made = encode_malformed(purchases, every, MALFORMED + every, np.full(len(KINDS), NOW_MS), every, 1)
    return dict(zip(KINDS, made, strict=True))


def parsed(value: bytes | None) -> Any:
    return json.loads(value or b"")


def test_what_does_not_parse_does_not_parse(values: dict[str, bytes | None]) -> None:
    for kind in ("not_json", "invalid_utf8", "invalid_utf8_unknown_field", "empty_value", "confluent"):
        with pytest.raises((ValueError, UnicodeDecodeError)):
            parsed(values[kind])
    for kind in ("nan", "infinity"):  # Python's parser is lenient, msgspec is not
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(values[kind] or b"")


def test_a_tombstone_is_null_and_an_empty_value_is_not(values: dict[str, bytes | None]) -> None:
    assert values["tombstone"] is None
    assert values["empty_value"] == b""


def test_what_parses_breaks_one_thing(values: dict[str, bytes | None]) -> None:
    assert parsed(values["wrong_type"])["quantity"] == "three"
    assert "store_id" not in parsed(values["missing_field"])
    assert set(parsed(values["extra_field"])) - set(parsed(values["null_key"])) == {"note"}
    assert parsed(values["beyond_64_bits"])["basket_id"] > 2**64
    assert [k for k, _ in json.loads(values["duplicate_keys"] or b"", object_pairs_hook=list)].count("quantity") == 2
    assert parsed(values["year_ahead"])["occurred_at"] == timestamps(np.array([NOW_MS + YEAR_MS]))[0]
    assert parsed(values["in_1970"])["occurred_at"].startswith("1970-01-01T")


def test_sizes_and_depths(values: dict[str, bytes | None]) -> None:
    assert 5_000_000 < len(values["huge_value"] or b"") < 5_001_000
    deep = values["deep_nesting"] or b""
    assert deep.count(b"[") == deep.count(b"]") == 100_000


def test_the_confluent_wire_format_is_magic_byte_and_schema_id(values: dict[str, bytes | None]) -> None:
    assert struct.unpack(">bI", (values["confluent"] or b"")[:5]) == (0, 42)


def test_bad_records_never_share_an_id_with_a_real_event(purchases: Purchases, values: dict[str, bytes | None]) -> None:
    ids = [parsed(values[kind])["event_id"] for kind in ("wrong_type", "missing_field", "null_key", "year_ahead")]
    assert len({*ids, *event_ids(purchases, np.arange(len(KINDS)), 1)}) == len(ids) + len(KINDS)


def test_a_good_event_says_what_the_source_says(purchases: Purchases) -> None:
    [value] = encode(purchases, np.array([0]), np.array([NOW_MS]), 1)
    event = json.loads(value)
    assert event["event_id"] == "cj1-0-31198570044-1095275"
    assert event["occurred_at"] == "2027-01-15T08:00:00.123Z"
    assert (event["household_id"], event["store_id"], event["quantity"], event["sales_value"]) == (900, 330, 1, 0.5)
    assert b" " not in value
    for money in ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc"):
        assert round(event[money] * 100) / 100 == event[money]
