"""GET /metrics: the catalogue, and KPI rows."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from dataforge.contracts.model import EventType, Metric
from dataforge.kpi.catalogue import Catalogue, Selection, duration_text
from dataforge.kpi.instants import instant, parse_instant
from dataforge.kpi.query import KpiRow, rolling_rows
from dataforge.kpi.status import is_idle
from dataforge.state.model import PartitionRead

from query_api.auth import Guard
from query_api.errors import ApiError, documented
from query_api.page import Cursor, fingerprint, page, state_of
from query_api.reads import Reader, Reads
from query_api.schemas import CatalogueAnswer, RowsAnswer

_FOREVER_MS = 2**53
_FEW_ROWS, _FEW_SKETCHES = 2_000, 20
"""Stored rows whose answer is made at once; more in a thread: 100,000 take a second, and others are waiting."""
_json = msgspec.json.Encoder()

_EXAMPLE = {
    "domain": "retail",
    "event": "purchase",
    "metric": "orders",
    "measure": "distinct",
    "unit": "",
    "window": "1m",
    "by": [],
    "error": {"kind": "relative", "bound": 0.0324},
    "watermark": "2026-01-05T10:00:41.250Z",
    "partitions": {
        "0": {
            "next": 4711,
            "position": 4711,
            "watermark": "2026-01-05T10:00:41.250Z",
            "floor": "2026-01-05T09:58:10.000Z",
            "idle": False,
        }
    },
    "rows": [
        {
            "start": "2026-01-05T10:00:00.000Z",
            "end": "2026-01-05T10:01:00.000Z",
            "labels": {},
            "value": 184,
            "status": "provisional",
            "revision": 0,
            "corrected": False,
        }
    ],
    "next_cursor": "WzE3NjcyNjQsNDcxMSwxNzY3NjA3MjAwMDAwLFtdXQ==",
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": RowsAnswer | CatalogueAnswer,
        "description": "Rows of a metric; without `metric`, the catalogue",
        "content": {"application/json": {"example": _EXAMPLE}},
    },
    **documented(
        (401, "unauthorized", "this needs a token", "send the header `Authorization: Bearer <token>`"),
        (404, "unknown_metric", "domain retail has no metric 'sales'", "there are: orders, revenue, units"),
        (404, "unknown_domain", "there is no domain 'bank'", "there are: retail"),
        (422, "bad_window", "revenue has no window '5s'", "it has: 10s, 1m, 1h, rolling:5m"),
        (422, "unknown_dimension", "revenue is not kept by city", "it is kept by: (the total: leave by away); store"),
        (422, "bad_parameter", "there is no parameter 'windw'", "did you mean window?"),
        (422, "bad_where", "where names 'city', which is not in by", "name it in by, or filter on: store"),
        (422, "bad_cursor", "this cursor is of another question", "pass next_cursor with unchanged parameters"),
        (426, "upgrade_required", "the live feed is served by ws-gateway", "connect to ws://localhost:8081"),
        (503, "unavailable", "the state store does not answer", "try again"),
    ),
}


def router(catalogue: Catalogue, reader: Reader, ws_url: str, guards: Sequence[Guard]) -> APIRouter:
    routes = APIRouter(dependencies=[Depends(guard) for guard in guards])
    listing = _json.encode(describe(catalogue, ws_url))

    @routes.get(
        "/metrics",
        summary="KPI rows of a metric; without `metric`, what there is",
        response_class=Response,
        responses=_RESPONSES,
        tags=["KPIs"],
    )
    async def metrics(
        metric: Annotated[str | None, Query(description="Without it, the catalogue")] = None,
        domain: Annotated[str | None, Query(description="May be left out where there is only one")] = None,
        event: Annotated[str | None, Query(description="Only where several events have the metric")] = None,
        window: Annotated[
            str | None, Query(description="`10s`, `1m`, `rolling:5m` …; by default the smallest", examples=["1m"])
        ] = None,
        by: Annotated[str | None, Query(description="Dimensions, separated by commas; by default the total")] = None,
        where: Annotated[list[str] | None, Query(description="`dimension:value`; repeat it for more")] = None,
        from_: Annotated[
            str | None, Query(alias="from", description="First window start: ISO 8601 or epoch ms; by default all kept")
        ] = None,
        to: Annotated[str | None, Query(description="Window starts end before this instant")] = None,
        at: Annotated[
            str | None, Query(description="End of a rolling window, a multiple of its step; by default the newest")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=100_000, description="Most rows in one answer")] = 1_000,
        cursor: Annotated[str | None, Query(description="`next_cursor` of the page before")] = None,
    ) -> Response:
        if metric is None:
            if domain is not None:
                catalogue.domain(domain)
            return _answer(listing)
        selection = catalogue.select(
            domain=domain, event=event, metric=metric, window=window, by=_names(by), where=_where(where or [])
        )
        after = _cursor(cursor)
        if selection.rolling:
            if from_ is not None or to is not None:
                raise ApiError(422, "bad_at", "from and to are not for rolling windows", "use at")
            if after is not None and at is None:  # by now there may be a newer one than that of the page before
                at = str(after.start_ms + selection.size_ms)
            start_ms, end_ms = await _rolling_span(selection, reader, at)
        else:
            if at is not None:
                raise ApiError(422, "bad_at", "at is for rolling windows", "use from and to")
            start_ms, end_ms = _at_ms("from", from_, 0), _at_ms("to", to, _FOREVER_MS)
        question = fingerprint(selection, start_ms, end_ms)
        if after is not None and after.question != question:
            hint = "pass next_cursor with unchanged parameters"
            raise ApiError(422, "bad_cursor", "this cursor is of another question", hint)
        reads = reader.kept(cursor) if cursor else None
        if reads is None:
            from_ms = start_ms if selection.rolling or after is None else max(start_ms, after.start_ms)
            reads = await reader.windows(selection, from_ms, end_ms)
        work = partial(_body, selection, reads, limit, question, after, end_ms)
        few = _FEW_SKETCHES if selection.view.metric.measure.kind.sketched else _FEW_ROWS
        body, following = work() if reads.stored <= few else await asyncio.to_thread(work)
        if following:
            reader.keep(following, reads)
        return _answer(body)

    return routes


def _body(
    selection: Selection, reads: Reads, limit: int, question: int, after: Cursor | None, end_ms: int
) -> tuple[bytes, str | None]:
    if selection.rolling:
        lateness_ms, (partitions, overlay) = selection.event.lateness_ms, reads
        rows = rolling_rows(
            selection.view, selection.rolling, partitions, end_ms, lateness_ms, selection.wanted, overlay.windows
        )
        rows = [row for row in rows if after is None or row.labels > after.labels]
        last = rows[limit - 1] if len(rows) > limit else None
        rows = rows[:limit]
        following = Cursor(question, state_of(reads), last.start_ms, last.labels) if last else None
    else:
        rows, following = page(selection, reads, limit, question, after)
    text = following.text() if following else None
    return _json.encode(rows_answer(selection, reads.partitions, rows, text)), text


def rows_answer(
    selection: Selection, reads: Sequence[PartitionRead], rows: Sequence[KpiRow], next_cursor: str | None
) -> dict[str, Any]:
    """*Shape*: `schemas.RowsAnswer`."""
    metric, by = selection.view.metric, selection.view.by
    started = [read.watermark for read in reads if read.watermark]
    return {
        "domain": selection.domain.name,
        "event": selection.event.contract.event,
        "metric": metric.name,
        "measure": metric.measure.kind,
        "unit": metric.unit,
        "window": selection.window,
        "by": by,
        "error": selection.view.error(),
        "watermark": instant(min(started)) if started else None,
        "partitions": {str(read.partition): place(read) for read in reads},
        "rows": [
            {
                "start": instant(row.start_ms),
                "end": instant(row.end_ms),
                "labels": dict(zip(by, row.labels, strict=True)),
                "value": row.value,
                "status": row.status,
                "revision": row.revision,
                "corrected": row.corrected,
            }
            for row in rows
        ],
        "next_cursor": next_cursor,
    }


def place(read: PartitionRead) -> dict[str, Any]:
    watermark = instant(read.watermark) if read.watermark else None
    floor = instant(read.floor) if read.floor else None
    return {
        "next": read.next,
        "position": read.position,
        "watermark": watermark,
        "floor": floor,
        "idle": is_idle(read),
    }


def describe(catalogue: Catalogue, ws_url: str) -> dict[str, Any]:
    """*Shape*: `schemas.CatalogueAnswer`."""
    return {
        "domains": [
            {
                "name": domain.name,
                "description": domain.description,
                "partitions": domain.partitions,
                "events": [
                    {
                        "name": event.contract.event,
                        "version": event.contract.version,
                        "id": event.contract.name,
                        "lateness": duration_text(event.lateness_ms),
                        "ttl": duration_text(event.ttl_ms),
                        "metrics": [_metric(catalogue, event, metric) for metric in event.metrics.values()],
                    }
                    for event in domain.events
                ],
            }
            for domain in catalogue.domains
        ],
        "live": {"url": ws_url, "protocol": "dataforge.v1"},
    }


def _metric(catalogue: Catalogue, event: EventType, metric: Metric) -> dict[str, Any]:
    return {
        "name": metric.name,
        "measure": metric.measure.kind,
        "unit": metric.unit,
        "description": metric.description,
        "windows": [duration_text(w) for w in metric.windows_ms],
        "rolling": [
            {"window": f"rolling:{duration_text(r.size_ms)}", "every": duration_text(r.every_ms)}
            for r in metric.rolling
        ],
        "by": metric.by,
        "error": catalogue.plan(event).view(metric.name, metric.by[0]).error(),
    }


async def _rolling_span(selection: Selection, reader: Reader, at: str | None) -> tuple[int, int]:
    """[start, end) of the rolling window that ends at `at`, or of the newest."""
    step_ms = selection.step_ms
    newest = max(head.watermark for head in await reader.heads(selection))
    if at is None:
        end_ms = newest // step_ms * step_ms + step_ms
    else:
        end_ms = _at_ms("at", at, 0)
        if end_ms % step_ms:
            raise ApiError(
                422,
                "bad_at",
                f"{at} is no end of a window: {selection.window} moves by {duration_text(step_ms)}",
                f"the one before is {instant(end_ms - end_ms % step_ms)}",
            )
        # What it is merged from expires bit by bit, in each partition by its own watermark.
        oldest_ms = (newest - selection.event.ttl_ms) // step_ms * step_ms + selection.size_ms
        if end_ms < oldest_ms:
            raise ApiError(
                422,
                "bad_at",
                f"the window that ends at {at} is not kept whole any more",
                f"the oldest that is ends at {instant(oldest_ms)}",
            )
    return max(0, end_ms - selection.size_ms), end_ms


def _names(by: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (by or "").split(",") if name.strip())


def _where(clauses: Sequence[str]) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    for clause in clauses:
        dimension, colon, value = clause.partition(":")
        if not colon:
            raise ApiError(422, "bad_where", f"where is {clause!r}", "write dimension:value")
        wanted.setdefault(dimension, []).append(value)
    return wanted


def _at_ms(name: str, text: str | None, default: int) -> int:
    if text is None:
        return default
    try:
        return parse_instant(text)
    except ValueError:
        hint = "write 2026-01-05T10:00:00Z (in a URL, + is %2B), or milliseconds since the epoch"
        raise ApiError(422, "bad_instant", f"{name} is {text!r}", hint) from None


def _cursor(text: str | None) -> Cursor | None:
    if text is None:
        return None
    try:
        return Cursor.read(text)
    except ValueError:
        raise ApiError(422, "bad_cursor", "this is no cursor", "pass next_cursor as it was answered") from None


def _answer(body: bytes) -> Response:
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})
