"""A small OTLP/HTTP receiver, so that tests can look at the traces a process really exported."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """One exported span. Ids are lower-case hex; `parent_id` is empty for a root."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: Mapping[str, Any]
    links: Sequence[tuple[str, str]]
    """(trace id, span id) of each link."""


class OtlpReceiver:
    """Listens on a free port of localhost and collects spans. Use it as an async context manager."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self.endpoint = ""
        """What to give a process as its OTLP endpoint."""
        self._arrived = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "OtlpReceiver":
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.add_routes([web.post("/v1/traces", self._traces)])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.endpoint = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def trace(self, trace_id: str) -> list[ReceivedSpan]:
        """The spans of one trace, in order of arrival."""
        return [span for span in self.spans if span.trace_id == trace_id]

    async def wait_for(self, enough: Callable[[Sequence[ReceivedSpan]], bool], deadline_s: float = 10) -> None:
        """Until `enough(spans)` holds. *Raises* TimeoutError, with the names of what came."""
        try:
            async with asyncio.timeout(deadline_s), self._arrived:
                await self._arrived.wait_for(lambda: enough(self.spans))
        except TimeoutError:
            came = sorted({f"{span.service}: {span.name}" for span in self.spans})
            raise TimeoutError(f"after {deadline_s} s only these spans had come: {came}") from None

    async def _traces(self, request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest.FromString(await request.read())
        async with self._arrived:
            self.spans.extend(_spans(message))
            self._arrived.notify_all()
        body = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=body, content_type="application/x-protobuf")


def _spans(message: ExportTraceServiceRequest) -> list[ReceivedSpan]:
    return [
        ReceivedSpan(
            service=_attributes(resource.resource.attributes).get("service.name", ""),
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            attributes=_attributes(span.attributes),
            links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        )
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}
