"""GET /queries, POST /query: history, from the lake."""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import date, datetime
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from dataforge.contracts.model import Parameter
from dataforge.kpi.catalogue import Catalogue
from dataforge.runtime import metrics
from dataforge.sql.problem import SqlProblem
from dataforge.sql.values import form

from query_api.auth import Guard, demand_analyst
from query_api.errors import ApiError, documented
from query_api.query.ask import Asker
from query_api.query.problems import QueryProblem
from query_api.schemas import QueriesAnswer, QueryAnswer, QueryInfo, QueryParameter, QueryRequest

T = TypeVar("T")
_STATUS = {"no_lake": 404, "bad_query": 422, "too_large": 422, "busy": 503, "unavailable": 503, "too_slow": 504}
_EXAMPLE = {
    "domain": "retail", "query": "top_products", "elapsed_ms": 3.1, "cached": True,
    "columns": [{"name": "product_id", "type": "bigint"}, {"name": "revenue", "type": "decimal(38,2)"}],
    "rows": [[1082185, 1210.61], [6534178, 990.04]], "truncated": False,
    "snapshots": {"silver.purchase": {"snapshot": "5432343876543", "at": "2026-01-05T10:00:41.250Z"}},
}  # fmt: skip
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": QueryAnswer, "content": {"application/json": {"example": _EXAMPLE}}},
    **documented(
        (401, "unauthorized", "this needs a token", "send the header `Authorization: Bearer <token>`"),
        (403, "forbidden", "SQL of one's own is for analysts", "ask one of the queries of GET /queries by its name"),
        (404, "unknown_query", "domain retail has no query 'top_product'", "did you mean top_products?"),
        (404, "no_lake", "the lake has no table silver.purchase yet", "`dataforge lake run all` makes it"),
        (422, "bad_parameter", "'since' is '2026-1-5'", "it must be a date like '2026-01-05'"),
        (422, "bad_query", "there is no column revenu here (line 1)", "did you mean revenue?"),
        (422, "too_large", "the query needs more memory than it may have", "ask for less: fewer days"),
        (503, "busy", "34 queries run or wait already", "try again in a moment"),
        (503, "unavailable", "the lake's files cannot be read", "try again"),
        (504, "too_slow", "the query took longer than 30 s", "ask for less: fewer days"),
    ),
}


def router(catalogue: Catalogue, asker: Asker | None, guards: Sequence[Guard]) -> APIRouter:
    routes = APIRouter(dependencies=[Depends(guard) for guard in guards], tags=["queries"])
    listing = QueriesAnswer(
        queries=[
            QueryInfo(
                domain=domain.name,
                name=query.name,
                description=query.description,
                max_rows=query.max_rows,
                parameters=[_described(each) for each in query.parameters.values()],
            )
            for domain in catalogue.domains
            for query in domain.queries.values()
        ]
    )

    @routes.get(
        "/queries", summary="The queries that have a name, and what each asks for", responses={401: _RESPONSES[401]}
    )
    async def queries() -> QueriesAnswer:
        return listing

    @routes.post("/query", summary="Ask the lake", response_class=Response, responses=_RESPONSES)
    async def query(request: Request, asked: QueryRequest) -> Response:
        if (asked.query is None) == (asked.sql is None):
            raise ApiError(
                422, "bad_parameter", "ask either a query, by its name, or sql", "GET /queries lists the names"
            )
        if asked.sql is not None:
            demand_analyst(request)
            if asked.parameters:
                raise ApiError(422, "bad_parameter", "sql has no parameters", "write the values into it")
        if asker is None:
            raise ApiError(503, "unavailable", "this API was started without a lake", "set DATAFORGE_LAKE_CATALOG")
        try:
            if asked.sql is not None:
                work = asker.ad_hoc(asked.domain, asked.sql, asked.limit)
            else:
                work = asker.named(asked.domain, asked.query or "", asked.parameters, asked.limit)
            answer = await while_connected(request, work)
        except SqlProblem as problem:
            line = f" (line {problem.line})" if problem.line else ""
            code = "bad_query" if asked.sql is not None else "bad_parameter"
            raise ApiError(422, code, f"{problem.message}{line}", problem.hint) from None
        except QueryProblem as problem:
            metrics.QUERIES.labels(problem.code).inc()
            status = _STATUS[problem.code]
            headers = {"Retry-After": "1"} if status == 503 else None
            raise ApiError(status, problem.code, problem.message, problem.hint, headers) from None
        return Response(answer, media_type="application/json", headers={"Cache-Control": "no-store"})

    return routes


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns. It is cancelled where the client leaves: nobody would read the answer.

    *Raises* what `work` does, `ApiError` where the client has left.
    """
    working, left = asyncio.create_task(work), asyncio.create_task(_left(request))
    try:
        await asyncio.wait({working, left}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ApiError(499, "left", "the client closed its connection")
        return working.result()
    finally:
        for task in (working, left):
            task.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _described(parameter: Parameter) -> QueryParameter:
    return QueryParameter(
        name=parameter.name,
        type=parameter.type,
        many=parameter.many,
        required=parameter.required,
        default=_written(parameter.default),
        form=form(parameter),
        allowed=list(parameter.allowed),
        description=parameter.description,
    )


def _written(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_written(each) for each in value]
    return value.isoformat() if isinstance(value, date | datetime) else value
