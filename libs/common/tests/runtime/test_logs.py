import json
import logging
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from dataforge.runtime.logs import JsonFormatter


def line(message: str = "hello", *, exc_info: Any = None, **extra: Any) -> dict[str, Any]:
    record = logging.LogRecord("some.logger", logging.WARNING, __file__, 1, message, None, exc_info)
    vars(record).update(extra)
    text = JsonFormatter("svc").format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_says_when_how_bad_who_and_what() -> None:
    said = line(rows=3)
    assert said["time"].endswith("+00:00")
    assert (said["level"], said["service"], said["logger"], said["message"]) == (
        "WARNING",
        "svc",
        "some.logger",
        "hello",
    )
    assert said["rows"] == 3
    assert "trace_id" not in said


def test_an_exception_stays_in_its_line() -> None:
    try:
        raise ValueError("odd")
    except ValueError as error:
        said = line(exc_info=(type(error), error, error.__traceback__))
    assert said["exception"].endswith("ValueError: odd")


def test_the_current_span_is_named() -> None:
    context = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    with trace.use_span(NonRecordingSpan(context)):
        said = line()
    assert (int(said["trace_id"], 16), int(said["span_id"], 16)) == (0xABC, 0xDEF)


def test_what_json_cannot_hold_costs_no_line() -> None:
    said = line(odd=object(), broken="\ud800", keys={("a", 1): 2})
    assert said["message"] in ("hello", "'hello'")
    assert "odd" in said
