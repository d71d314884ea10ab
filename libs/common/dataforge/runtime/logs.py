"""JSON logs: one object per line on stderr."""

import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
from opentelemetry import trace

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_NOISY = ("aiokafka", "faust", "mode", "botocore", "aiobotocore", "urllib3", "asyncio", "py4j")


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: time, level, service, logger, message, extra fields, trace, exception."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service
        self._encode = msgspec.json.Encoder(enc_hook=repr).encode

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self.service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((k, v) for k, v in vars(record).items() if k not in _STANDARD and k not in line)
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"] = trace.format_trace_id(context.trace_id)
            line["span_id"] = trace.format_span_id(context.span_id)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return self._encode(line).decode()
        except (TypeError, ValueError, UnicodeEncodeError):
            # An extra field that JSON cannot hold must not cost the line.
            return self._encode({key: repr(value) for key, value in line.items()}).decode(errors="replace")


def configure_logging(service: str, level: str = "INFO") -> None:
    """Send every logger's records to stderr as JSON; libraries speak from WARNING on, or all of it at DEBUG."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(level if level == "DEBUG" else max("WARNING", level, key=_number))
    logging.Formatter.converter = time.gmtime
    logging.captureWarnings(capture=True)


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level]
