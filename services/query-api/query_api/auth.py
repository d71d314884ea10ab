"""Who may ask: bearers of the API token. Guards are coroutines: FastAPI would run functions in threads."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from query_api.errors import ApiError

Guard = Callable[..., Awaitable[None]]
_bearer = HTTPBearer(auto_error=False, description="The platform's API token (DATAFORGE_API_TOKEN)")
_HINT = "send the header `Authorization: Bearer <token>`; `dataforge up` prints the token"


def bearer(token: str | None) -> Guard:
    """A dependency that lets only bearers of the token pass; everybody where there is none."""

    async def check(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> None:
        if token is None:
            return
        given = credentials.credentials if credentials else ""
        # In constant time: how long a refusal takes must not tell how much of a guess was right.
        if not hmac.compare_digest(given.encode(), token.encode()):
            said = "this token is not valid" if credentials else "this needs a token"
            raise ApiError(401, "unauthorized", said, _HINT, {"WWW-Authenticate": "Bearer"})

    return check


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
