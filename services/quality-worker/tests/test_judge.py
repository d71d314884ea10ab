"""Properties of the judge: it never raises, is a pure function, and finds every duplicate key."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge.contracts.reasons import UNDECODABLE, Reason
from dataforge.errors import Rejected
from dataforge.stream.judged import TRACEPARENT, Verdict
from dataforge.stream.records import LogRecord

from purchase_events import GOOD, NOW_MS, PURCHASE, bytes_of, event_type
from quality_worker.judge import VALID, Judge, Judgement
from quality_worker.quick import MAX_ID_LENGTH
from quality_worker.strict import MAX_DEPTH, check_keys, distinct_keys

JUDGE = Judge(PURCHASE)
RULES = {rule.name for rule in PURCHASE.rules}


def record(value: bytes | None, key: bytes | None = b"900") -> LogRecord:
    return LogRecord(0, NOW_MS, key, value)


@settings(max_examples=300)
@given(st.binary(max_size=200) | st.none(), st.none() | st.binary(max_size=5))
def test_any_bytes_get_exactly_one_verdict(value: bytes | None, key: bytes | None) -> None:
    judgement = JUDGE.judge(record(value, key))
    assert judgement == JUDGE.judge(record(value, key))
    assert judgement.reason != Reason.JUDGE_ERROR
    assert (judgement.verdict is Verdict.UNDECODABLE) == (judgement.reason in UNDECODABLE)


@settings(max_examples=300)
@given(st.data())
def test_a_mutated_event_is_never_a_mistake_of_the_judge(data: st.DataObject) -> None:
    value = bytearray(bytes_of())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(value) - 1))
        value[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        value = value or bytearray(b"x")
    judgement = JUDGE.judge(record(bytes(value)))
    assert judgement.reason != Reason.JUDGE_ERROR, judgement.detail
    assert judgement.reason in {*Reason, *RULES, ""}


money = st.integers(0, 10**6).map(lambda cents: cents / 100)


@settings(max_examples=200)
@given(st.text(min_size=1, max_size=64), st.integers(1, 10**6), money, money, st.integers(-364, 0))
def test_every_event_that_keeps_the_contract_is_valid(
    event_id: str, quantity: int, paid: float, off: float, days: int
) -> None:
    month = 11 if days > -300 else 1
    event: dict[str, Any] = {
        **GOOD,
        "event_id": event_id,
        "quantity": quantity,
        "sales_value": paid,
        "retail_disc": off,
        "occurred_at": f"2026-{month:02}-20T10:00:00+02:00",
    }
    for text in (json.dumps(event), json.dumps(event, ensure_ascii=False, indent=1)):
        judgement = JUDGE.judge(record(text.encode("utf-8", "surrogatepass")))
        if any(0xD800 <= ord(c) < 0xE000 for c in event_id):
            continue
        assert judgement.verdict is Verdict.VALID, judgement


keys = st.sampled_from(["a", "b", "c", 'q"uote', "col:on"])
objects = st.recursive(
    st.integers() | st.text(max_size=5) | st.just('":'),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(keys, inner), max_size=4).map(tuple),
    max_leaves=12,
)


def dump(value: Any, colon: str) -> tuple[str, bool]:
    """JSON text, and whether some object has a key twice. Objects are tuples of pairs."""
    if isinstance(value, tuple):
        parts = [(json.dumps(k), dump(v, colon)) for k, v in value]
        text = "{" + ",".join(f"{k}{colon}{v[0]}" for k, v in parts) + "}"
        return text, len({k for k, _ in value}) < len(value) or any(v[1] for _, v in parts)
    if isinstance(value, list):
        inner = [dump(v, colon) for v in value]
        return "[" + ",".join(v[0] for v in inner) + "]", any(v[1] for v in inner)
    return json.dumps(value), False


colons = st.sampled_from([":", ": ", " :", "\n:"])


@settings(max_examples=300)
@given(st.lists(st.tuples(keys, objects), max_size=5).map(tuple), colons)
def test_the_slow_look_finds_duplicate_keys_exactly_where_they_are(value: Any, colon: str) -> None:
    text, twice = dump(value, colon)
    try:
        check_keys(text.encode())
        found = False
    except Rejected as error:
        found = error.reason == Reason.DUPLICATE_KEYS
    assert found == twice


@settings(max_examples=300)
@given(st.lists(st.tuples(keys | st.just("{"), objects), max_size=5).map(tuple), colons)
def test_the_glance_passes_no_key_that_is_there_twice(value: Any, colon: str) -> None:
    text, twice = dump(value, colon)
    assert not (distinct_keys(text.encode()) and twice)


@pytest.mark.parametrize(
    ("text", "distinct"),
    [
        ('{"a": "x", "b": [1, "y"], "c": null, "d": "what nobody asked for"}', True),
        ('{"a": 1, "a": 2}', False),
        (r'{"a": 1, "\u0061": 2}', False),
        (r'{"a": 1, "\ud800": 2}', False),
        ('{"a": {"b": 1, "b": 2}}', False),
        ('{"a": {"b": 1}}', False),
    ],
)
def test_the_glance_knows_flat_documents(text: str, distinct: bool) -> None:
    assert distinct_keys(text.encode()) is distinct


OPEN = event_type(
    {
        "id": {"type": "string"},
        "at": {"type": "integer", "x-time": "epoch_ms"},
        "text": {"type": ["string", "null"]},
        "maybe": {"type": ["string", "null"]},
        "count": {"type": "integer"},
        "flag": {"type": "boolean"},
    },
    required=["id", "at", "text"],
)
OPEN_JUDGE = Judge(OPEN)
extras = st.tuples(st.sampled_from(["text", "maybe"]), st.none() | st.text(max_size=3)) | st.sampled_from(
    [("count", 1), ("flag", True), ("other", 1), ("other", "x")]
)


@settings(max_examples=400)
@given(st.lists(extras, max_size=5), st.sampled_from(["i", 'i"', "i\\"]), colons)
def test_no_way_of_writing_an_event_hides_a_key_that_is_there_twice(
    extra: list[tuple[str, Any]], event_id: str, colon: str
) -> None:
    """The fast look over optional, nullable and unknown fields never passes what the slow one would find."""
    pairs = [("id", event_id), ("at", NOW_MS), ("text", None), *extra]
    text, twice = dump(tuple(pairs), colon)
    judgement = OPEN_JUDGE.judge(record(text.encode()))
    assert judgement.reason == (Reason.DUPLICATE_KEYS if twice else "")


SLOW_JUDGE = Judge(PURCHASE)
SLOW_JUDGE._quick = lambda _event, _now: False
money_or_not = st.integers(-(10**7), 10**7).map(lambda n: n / 1000) | st.floats()


@settings(max_examples=400)
@given(money_or_not, st.integers(-1, 3), st.sampled_from([995242, 1]), st.integers(-367, 3), st.integers(0, 2000))
def test_the_quick_look_says_yes_to_nothing_the_slow_one_objects_to(
    paid: float, quantity: int, product: int, days: int, ms: int
) -> None:
    at = datetime.fromtimestamp(NOW_MS / 1000, UTC) + timedelta(days=days, milliseconds=ms - 1000)
    value = bytes_of(sales_value=paid, quantity=quantity, product_id=product, occurred_at=at.isoformat())
    fast = JUDGE.judge(record(value))
    assert fast == SLOW_JUDGE.judge(record(value))


def test_a_number_too_long_for_any_reader_is_a_number_all_the_same() -> None:
    for field in ("basket_id", "sales_value"):
        for digits in (30, 400, 5_000):
            value = bytes_of(**{field: "@@"}).replace(b'"@@"', b"9" * digits)
            assert JUDGE.judge(record(value)).verdict is Verdict.QUARANTINED
            assert JUDGE.judge(record(value + b"x")).reason == Reason.NOT_JSON


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH])
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_depth_is_judged_the_same_however_deep_the_stack_is(depth: int, opening: bytes) -> None:
    value = bytes_of(note="@@").replace(b'"@@"', opening * depth + b"1" + (b"]" if opening == b"[" else b"}") * depth)

    def below(frames: int) -> Judgement:
        return below(frames - 1) if frames else JUDGE.judge(record(value))

    expected = Reason.TOO_DEEP if depth == MAX_DEPTH else ""
    assert {below(frames).reason for frames in (0, 50, 300)} == {expected}


def test_brackets_in_text_are_not_depth() -> None:
    assert JUDGE.judge(record(bytes_of(note='[{\\"' * 1_000))).verdict is Verdict.VALID


def test_a_trace_goes_on_with_whatever_verdict() -> None:
    header = (TRACEPARENT, b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01")
    for value in (bytes_of(), b"?"):
        assert JUDGE.judge(record(value)._replace(headers=[header])).traceparent == header[1].decode()


@pytest.mark.parametrize("header", [None, b"", b"\xff", b"00-" + b"1" * 32, b"0" * 1_000_000])
def test_a_broken_trace_header_is_not_handed_on(header: bytes | None) -> None:
    headers: Any = [(TRACEPARENT, header)]
    assert JUDGE.judge(record(bytes_of())._replace(headers=headers)) == VALID


def test_an_id_as_long_as_a_document_is_none() -> None:
    longest = "x" * MAX_ID_LENGTH
    for event_id, reason in ((longest, ""), (longest + "x", Reason.OUT_OF_RANGE)):
        value = json.dumps({"id": event_id, "at": NOW_MS, "text": None}).encode()
        assert OPEN_JUDGE.judge(record(value)).reason == reason


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize(
    ("at_s", "valid"), [(0, True), (-1, False), (-(10**9), False), (253_370_764_799, True), (253_370_764_800, False)]
)
def test_a_time_without_a_window_is_no_event_time(at_s: int, valid: bool, thorough: bool) -> None:
    """Before 1970 it is behind every watermark; after 9998 nobody could write its window's end."""
    fields = {"id": {"type": "string"}, "at": {"type": "integer", "x-time": "epoch_s"}}
    limits = {"id": "id", "event_time": "at", "max_age": "40000d", "max_ahead": "9000000d"}
    more = {"minProperties": 2} if thorough else {}
    judge = Judge(event_type(fields, ["id", "at"], **{"x-dataforge": limits}, **more))
    judgement = judge.judge(record(json.dumps({"id": "a", "at": at_s}).encode()))
    assert judgement.reason == ("" if valid else Reason.BAD_TIME)
