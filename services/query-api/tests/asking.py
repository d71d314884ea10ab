"""Questions to the API over ASGI, and the shop that they are about."""

from typing import Any

import httpx

from dataforge.testing.kpis import sample_domain

from query_api import schemas

T0 = 1_700_000_000_000 // 60_000 * 60_000
TOKEN = "let-me-in"
DOMAIN = sample_domain()


async def get(api: httpx.AsyncClient, path: str = "/metrics", **params: Any) -> dict[str, Any]:
    answer = await api.get(path, params={k.rstrip("_"): v for k, v in params.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def problem(api: httpx.AsyncClient, status: int, **params: Any) -> dict[str, str]:
    answer = await api.get("/metrics", params=params)
    assert answer.status_code == status, answer.text
    return schemas.Problem.model_validate_json(answer.content).error.model_dump()
