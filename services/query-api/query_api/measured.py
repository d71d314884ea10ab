"""Counts and times requests by route: plain ASGI, so that answers are not buffered."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dataforge.runtime import metrics


class Measured:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s, status = time.perf_counter(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        finally:
            # A path that no route knows could be anything: as a label it would never end.
            method, route = scope["method"], getattr(scope.get("route"), "path", "unknown")
            metrics.HTTP_REQUESTS.labels(method, route, str(status)).inc()
            metrics.HTTP_SECONDS.labels(method, route).observe(time.perf_counter() - began_s)
