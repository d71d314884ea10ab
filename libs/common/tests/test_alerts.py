"""Alerts: what is written is read back, repeats and stragglers change nothing, and none is dropped in silence."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge.alerts import TOPIC, Alert, AlertSink, current, decode, encode
from dataforge.errors import Transient
from dataforge.stream.records import TopicPartition
from dataforge.testing.log import MemoryLog

PAUSED = Alert(
    kind="topic_paused",
    severity="critical",
    at_ms=1_000,
    message="half of them are bad",
    what_to_do="look",
    domain="shop",
    topic="raw.shop.sale.v1",
    details={"ratio": 0.5},
)
texts = st.text(max_size=20)
alerts = st.builds(
    Alert,
    kind=st.sampled_from(["a", "b"]),
    severity=st.sampled_from(["info", "warning", "critical"]),
    state=st.sampled_from(["raised", "cleared"]),
    at_ms=st.integers(0, 20),
    message=texts,
    what_to_do=texts,
    domain=st.none() | texts,
    topic=st.none() | texts,
    partition=st.none() | st.integers(0, 3),
    details=st.dictionaries(texts, texts | st.integers(0, 9), max_size=2),
)


@given(alerts)
def test_what_is_written_is_read_back(alert: Alert) -> None:
    assert decode(encode(alert)) == alert


def test_what_is_no_alert_is_refused_and_later_fields_are_not() -> None:
    assert decode(encode(PAUSED)[:-1] + b',"later":[1]}') == PAUSED
    with pytest.raises(msgspec.DecodeError):
        decode(b'{"kind":"a"}')


def test_one_state_of_affairs_has_one_key() -> None:
    assert PAUSED.key == "topic_paused/shop/raw.shop.sale.v1"
    assert PAUSED.cleared(2_000, "resumed").key == PAUSED.key
    assert msgspec.structs.replace(PAUSED, partition=0).key != PAUSED.key


@given(st.lists(alerts, max_size=8), st.data())
def test_repeats_and_stragglers_change_nothing(sent: list[Alert], data: st.DataObject) -> None:
    stragglers = data.draw(st.lists(st.sampled_from(sent), max_size=5)) if sent else []
    assert current([*sent, *stragglers]) == current(sent)


def test_a_clearing_alert_wins_also_by_a_clock_behind() -> None:
    cleared = PAUSED.cleared(0, "resumed")
    assert current([PAUSED, cleared, PAUSED]) == {PAUSED.key: cleared}


async def test_an_alert_that_may_not_be_written_is_to_be_sent_again() -> None:
    log = MemoryLog()
    sink = AlertSink(log)
    log.fates = ["lost", "unacknowledged"]
    for _ in log.fates.copy():
        with pytest.raises(Transient):
            await sink.send(PAUSED)
    await sink.send(PAUSED)
    records = log.records(TopicPartition(TOPIC, 0))
    assert [(r.key, decode(r.value or b"")) for r in records] == [(PAUSED.key.encode(), PAUSED)] * 2
