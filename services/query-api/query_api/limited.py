"""Refuses a body that is larger than any question, before anybody looks at it. Plain ASGI."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 1024 * 1024


class Limited:
    """*Guarantees*: whoever it is, with a token or without, at most `MOST_BYTES` of a body are held."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held = 0

        async def received() -> Message:
            nonlocal held
            message = await receive()
            held += len(message.get("body", b""))
            if held > MOST_BYTES:
                raise HTTPException(413, f"the body has more than {MOST_BYTES:,} bytes")
            return message

        await self._app(scope, received, send)
