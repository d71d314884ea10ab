"""The end of a traced event's way: its push to the clients."""

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanKind

from dataforge.runtime.tracing import parse_traceparent

from ws_gateway.channel import Channel

_TRACER = trace.get_tracer("dataforge.ws_gateway")


def push_spans(traceparents: Sequence[str], channel: Channel) -> None:
    """Record one `push` span, a child of each traceparent, for a frame that has just been handed out."""
    about = {"dataforge.channel": channel.number, "dataforge.metric": channel.selection.view.metric.name}
    for text in traceparents:
        if (parent := parse_traceparent(text.encode())) is not None:
            context = trace.set_span_in_context(NonRecordingSpan(parent))
            _TRACER.start_span("push", context=context, kind=SpanKind.PRODUCER, attributes=about).end()
