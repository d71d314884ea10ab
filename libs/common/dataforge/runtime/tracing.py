"""Traces through a log: which events are traced, and the spans of a batch.

A traced event's id decides everything: whether it is traced, its trace id, its first span. So producers
need no coordination, a repeat of an event joins the same trace, and a test can look for it.

*Source*: W3C Trace Context; OpenTelemetry messaging conventions (in development): one `process` span a
batch with links, `messaging.batch.message_count`.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import attrgetter

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes

from dataforge.stream.judged import HEADER, TRACEPARENT
from dataforge.stream.records import Record

MAX_LINKS = 32
"""Records of one batch that get a span of their own; the rest of the batch's traces end a stage early."""

_HASH = struct.Struct(">QQQ")
_headers = attrgetter("headers")
_TRACER = trace.get_tracer("dataforge")
_provider: TracerProvider | None = None


class _LinkedRoots(Sampler):
    """Records a root span only where it links to traced records: an idle service's PUTs are no traces."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        return SamplingResult(Decision.RECORD_AND_SAMPLE if links else Decision.DROP, attributes if links else None)

    def get_description(self) -> str:
        return "LinkedRoots"


def configure_tracing(
    service: str, otlp_endpoint: str | None, *, instance: str | None = None, all_work: bool = False
) -> None:
    """Export spans of this process to an OTLP/HTTP collector (base URL); without one, spans cost next to nothing.

    With `all_work` a `work_span` is recorded too: for a process whose pieces of work are few, and large.
    Call it once, in the process that exports (a BatchSpanProcessor does not survive a fork).
    """
    global _provider
    if otlp_endpoint is None or _provider is not None:
        return
    # imported late: most processes of a laptop export nothing, and it is a twentieth of a start
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    resource = Resource.create({"service.name": service} | ({"service.instance.id": instance} if instance else {}))
    _provider = TracerProvider(resource=resource, sampler=ParentBased(ALWAYS_ON if all_work else _LinkedRoots()))
    exporter = OTLPSpanExporter(endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces", timeout=5)
    _provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
    trace.set_tracer_provider(_provider)


def stop_tracing(timeout_s: float = 2) -> None:
    """Export what is left, for at most `timeout_s`. Blocks: call it as the last thing, or in a thread."""
    global _provider
    if _provider is not None:
        provider, _provider = _provider, None
        provider.force_flush(int(timeout_s * 1000))
        provider.shutdown()


@contextmanager
def work_span(name: str, attributes: Mapping[str, str | int | float]) -> Iterator[Span]:
    """Span a piece of work that is no batch of records; what it comes to is set on the span that is yielded."""
    with _TRACER.start_as_current_span(name, attributes=attributes) as span:
        yield span


def _ids(event_id: str) -> tuple[int, int, int]:
    """(choice, two halves of trace id) from a hash that is the same in every process and release."""
    return _HASH.unpack(blake2b(event_id.encode(errors="surrogatepass"), digest_size=24).digest())


def sampled(event_id: str, ratio: float) -> bool:
    """Whether this event is traced: the same answer everywhere. A lower ratio keeps a subset of a higher one's."""
    return ratio >= 1 or (ratio > 0 and _ids(event_id)[0] < ratio * 2**64)


def new_traceparent(event_id: str) -> bytes:
    """Header value for a traced event: trace id and first span id follow from the event id."""
    choice, high, low = _ids(event_id)
    return b"00-%016x%016x-%016x-01" % (high, low | 1, choice | 1)


def produce_span(event_id: str, topic: str) -> bytes:
    """Record that a traced event is produced to `topic`. Returns the header to send with it."""
    origin = parse_traceparent(new_traceparent(event_id))
    assert origin is not None  # noqa: S101 - by construction
    span = _TRACER.start_span(
        f"send {topic}",
        context=trace.set_span_in_context(NonRecordingSpan(origin)),
        kind=SpanKind.PRODUCER,
        attributes={
            "messaging.system": "kafka",
            "messaging.operation.type": "send",
            "messaging.destination.name": topic,
            "messaging.message.id": event_id,
        },
    )
    span.end()
    return traceparent_of(span.get_span_context())


def parse_traceparent(value: bytes) -> SpanContext | None:
    """The context in a traceparent header; None where it is not one, or not sampled (others write headers too)."""
    parts = value.split(b"-")
    if len(parts) < 4 or [len(p) for p in parts[:4]] != [2, 32, 16, 2] or parts[0] == b"ff":
        return None
    if not all(p.isalnum() for p in parts[:4]):  # int() would take signs and underscores
        return None
    try:
        trace_id, span_id, flags = (int(p, 16) for p in parts[1:4])
    except ValueError:
        return None
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return context if context.is_valid and context.trace_flags.sampled else None


def traceparent_of(context: SpanContext) -> bytes:
    return b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, context.trace_flags)


def traced(records: Sequence[Record], limit: int = MAX_LINKS) -> list[tuple[int, SpanContext]]:
    """(index in the batch, context) of the first `limit` records that carry a sampled traceparent."""
    # Nearly no record has the header, but none at all or, in a judged log, the stamp alone: this is all that they cost.
    headers = list(map(_headers, records))
    usual = 1 if headers and headers[0] and headers[0][0][0] == HEADER else 0
    if max(map(len, headers), default=0) <= usual:
        return []
    found: list[tuple[int, SpanContext]] = []
    for index in [i for i, some in enumerate(headers) if len(some) > usual]:
        values = (value for name, value in headers[index] if name == TRACEPARENT and value is not None)
        if (context := next(filter(None, map(parse_traceparent, values)), None)) is not None:
            found.append((index, context))
        if len(found) >= limit:
            break
    return found


@dataclass(slots=True)
class BatchTrace:
    """The spans of one batch."""

    span: Span | None = None
    """The batch's own span; None where no record is traced."""
    records: Mapping[int, Span] = field(default_factory=dict)
    """Index in the batch -> span of that record, a child of the record's traceparent."""

    def traceparent(self, index: int) -> bytes | None:
        """What the next stage shall get as the header of the record at `index`; None where it is not traced."""
        span = self.records.get(index)
        return None if span is None else traceparent_of(span.get_span_context())


_UNTRACED = BatchTrace()


@contextmanager
def batch_trace(
    name: str, topic: str, partition: int, records: Sequence[Record], attributes: Mapping[str, str | int] | None = None
) -> Iterator[BatchTrace]:
    """Span the work on a batch: one PROCESS span with links to its traced records, and one span for each of them.

    A record's span is a child of its traceparent header, so one trace id walks through every stage. An
    exception is recorded on all of them and goes on. Costs one look at each record's headers otherwise.
    """
    found = traced(records)
    if not found:
        yield _UNTRACED
        return
    about: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.operation.name": name,
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": str(partition),
        **(attributes or {}),
    }
    links = [Link(context) for _, context in found]
    counted = about | {"messaging.batch.message_count": len(records)}
    with _TRACER.start_as_current_span(
        f"{name} {topic}", kind=SpanKind.CONSUMER, links=links, attributes=counted
    ) as span:
        spans = {
            index: _TRACER.start_span(
                name,
                context=trace.set_span_in_context(NonRecordingSpan(parent)),
                kind=SpanKind.CONSUMER,
                links=[Link(span.get_span_context())],
                attributes=about | {"messaging.kafka.offset": records[index].offset},
            )
            for index, parent in found
        }
        try:
            yield BatchTrace(span, spans)
        except BaseException as error:
            for one in spans.values():
                one.record_exception(error)
            raise
        finally:
            for one in spans.values():
                one.end()
