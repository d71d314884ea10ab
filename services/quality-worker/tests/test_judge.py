"""Properties of the judge: it never raises, is a pure function, and finds every duplicate key."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge.errors import Rejected
from dataforge.stream.judged import TRACEPARENT, Verdict
from dataforge.stream.records import LogRecord

from purchase_events import GOOD, NOW_MS, PURCHASE, bytes_of
from quality_worker.judge import Judge
from quality_worker.reasons import UNDECODABLE, Reason
from quality_worker.strict import check_keys

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


def dump(value: Any, colon: str) -> tuple[str, bool, int]:
    """(JSON text, whether some object has a key twice, keys of the top object). Objects are tuples of pairs."""
    if isinstance(value, tuple):
        parts = [(json.dumps(k), dump(v, colon)) for k, v in value]
        text = "{" + ",".join(f"{k}{colon}{v[0]}" for k, v in parts) + "}"
        return text, len({k for k, _ in value}) < len(value) or any(v[1] for _, v in parts), len(value)
    if isinstance(value, list):
        inner = [dump(v, colon) for v in value]
        return "[" + ",".join(v[0] for v in inner) + "]", any(v[1] for v in inner), 0
    return json.dumps(value), False, 0


@settings(max_examples=300)
@given(st.lists(st.tuples(keys, objects), max_size=5).map(tuple), st.sampled_from([":", ": ", " :", "\n:"]))
def test_duplicate_keys_are_found_exactly_where_they_are(value: Any, colon: str) -> None:
    text, twice, _ = dump(value, colon)
    distinct = len({key for key, _ in value})
    try:
        check_keys(text.encode(), distinct)
        found = False
    except Rejected as error:
        found = error.reason == Reason.DUPLICATE_KEYS
    assert found == twice


def test_a_trace_goes_on_with_whatever_verdict() -> None:
    header = (TRACEPARENT, b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01")
    for value in (bytes_of(), b"?"):
        assert JUDGE.judge(record(value)._replace(headers=[header])).traceparent == header[1].decode()
