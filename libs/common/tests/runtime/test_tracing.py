import asyncio
import json
import os
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dataforge.runtime.tracing import (
    MAX_LINKS,
    batch_trace,
    new_traceparent,
    parse_traceparent,
    sampled,
    traced,
    traceparent_of,
)
from dataforge.stream.judged import TRACEPARENT
from dataforge.stream.records import LogRecord
from dataforge.testing.otlp import OtlpReceiver

# A process of its own: OpenTelemetry has one provider a process.
STAGES = """
import json, sys
from dataforge.runtime.tracing import *
from dataforge.stream.judged import TRACEPARENT
from dataforge.stream.records import LogRecord
configure_tracing("svc", sys.argv[1])
header = produce_span("event-1", "raw.x")
plain = [LogRecord(i, 0, None, b"") for i in range(3)]
with batch_trace("judge", "raw.x", 2, [*plain, LogRecord(3, 0, None, b"", [(TRACEPARENT, header)])]) as first:
    onward = first.traceparent(3)
    assert first.traceparent(0) is None
with batch_trace("fold", "judged.x", 2, [LogRecord(9, 0, None, b"", [(TRACEPARENT, onward)])]) as second:
    pass
with batch_trace("fold", "judged.x", 2, plain):
    pass
print(json.dumps([header.decode(), onward.decode(), second.traceparent(0).decode()]))
stop_tracing()
"""


async def test_one_trace_id_walks_the_stages() -> None:
    async with OtlpReceiver() as receiver:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", STAGES, receiver.endpoint), stdout=asyncio.subprocess.PIPE, env=os.environ
        )
        out, _ = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0
        headers = [parse_traceparent(value.encode()) for value in json.loads(out)]
        await receiver.wait_for(lambda spans: len(spans) >= 5)
        trace_id = new_traceparent("event-1").split(b"-")[1].decode()
        send, judge, fold = receiver.trace(trace_id)
        assert [send.name, judge.name, fold.name] == ["send raw.x", "judge", "fold"]
        assert (judge.parent_id, fold.parent_id) == (send.span_id, judge.span_id)
        assert [f"{h.span_id:016x}" for h in headers if h] == [send.span_id, judge.span_id, fold.span_id]
        (batch,) = [span for span in receiver.spans if span.name == "judge raw.x"]
        assert batch.attributes["messaging.batch.message_count"] == 4
        assert batch.links == [(trace_id, send.span_id)]
        assert judge.attributes["messaging.kafka.offset"] == 3
        assert len(receiver.spans) == 5, "an untraced batch exports nothing"


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_lower_ratio_samples_a_subset(event_id: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert not sampled(event_id, low) or sampled(event_id, high)


def test_the_choice_is_the_same_in_every_process_and_release() -> None:
    assert [i for i in range(5000) if sampled(f"event-{i}", 1 / 1000)] == [868, 1774, 2277, 2396, 2719, 4686]
    assert new_traceparent("event-1") == b"00-e04621ec291c81e52139406dcc0bcd51-2f94252e65460ba3-01"
    assert not sampled("x", 0)
    assert sampled("x", 1)


@given(st.text())
def test_a_traceparent_is_valid_and_stable(event_id: str) -> None:
    header = new_traceparent(event_id)
    context = parse_traceparent(header)
    assert context is not None
    assert traceparent_of(context) == header == new_traceparent(event_id)


@given(st.binary())
def test_no_bytes_crash_the_parser(value: bytes) -> None:
    parse_traceparent(value)


def test_what_others_chose_not_to_sample_is_left_alone() -> None:
    assert parse_traceparent(new_traceparent("x")[:-2] + b"00") is None


def test_a_batch_links_to_a_bounded_number_of_records() -> None:
    records = [LogRecord(i, 0, None, b"", [(TRACEPARENT, new_traceparent(str(i)))]) for i in range(100)]
    assert [index for index, _ in traced(records)] == list(range(MAX_LINKS))


def test_a_header_without_a_value_is_no_trace() -> None:
    null: Any = None  # Kafka allows it, whatever our types say
    records = [LogRecord(0, 0, None, b"", [(TRACEPARENT, null)]), LogRecord(1, 0, None, b"", [("other", null)])]
    assert traced(records) == []


def test_without_an_exporter_a_traceparent_passes_through() -> None:
    header = new_traceparent("x")
    with batch_trace("judge", "raw", 0, [LogRecord(0, 0, None, b"", [(TRACEPARENT, header)])]) as trace:
        assert trace.traceparent(0) == header
