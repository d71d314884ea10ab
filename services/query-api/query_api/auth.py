"""Who may ask: bearers of a token, analysts more than others. Guards are coroutines: FastAPI would run functions in
threads.
"""

import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from query_api.errors import ApiError

Guard = Callable[..., Awaitable[None]]
_bearer = HTTPBearer(auto_error=False, description="The platform's API token (DATAFORGE_API_TOKEN)")
_HINT = "send the header `Authorization: Bearer <token>`; `dataforge up` prints the token"


def bearer(token: str | None, analyst: str | None = None) -> Guard:
    """A dependency that lets only bearers of one of the tokens pass; everybody where `token` is none."""

    async def check(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> None:
        given = credentials.credentials if credentials else ""
        request.state.analyst = _is(given, analyst)
        if token is not None and not (_is(given, token) or request.state.analyst):
            said = "this token is not valid" if credentials else "this needs a token"
            raise ApiError(401, "unauthorized", said, _HINT, {"WWW-Authenticate": "Bearer"})

    return check


def demand_analyst(request: Request) -> None:
    """*Raises* `ApiError` where whoever `bearer` let pass is no analyst."""
    if not request.state.analyst:
        hint = (
            "send an analyst's token (DATAFORGE_ANALYST_TOKEN), or ask one of the queries of GET /queries by its name"
        )
        raise ApiError(403, "forbidden", "SQL of one's own is for analysts", hint)


def _is(given: str, token: str | None) -> bool:
    """In constant time: how long a refusal takes must not tell how much of a guess was right."""
    return token is not None and hmac.compare_digest(given.encode(), token.encode())


def no_upgrade(ws_url: str) -> Guard:
    """A dependency that sends WebSocket clients to the live feed, before they are asked for a token."""

    async def check(request: Request) -> None:
        if request.headers.get("upgrade", "").lower() == "websocket":
            raise ApiError(
                426,
                "upgrade_required",
                "the live feed is served by ws-gateway",
                f"connect to {ws_url} with the subprotocol dataforge.v1",
                {"Upgrade": "websocket", "Link": f'<{ws_url}>; rel="alternate"'},
            )

    return check
