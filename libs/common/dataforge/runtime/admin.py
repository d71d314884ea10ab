"""The admin port of a service: /healthz, /readyz, /metrics."""

import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

logger = logging.getLogger(__name__)

Check = Callable[[], Awaitable[str | None] | str | None]
"""Returns None where all is well, else a text that says what is not."""


class AdminServer:
    """Serves health, readiness and metrics.

    `/healthz` is 200 while the process makes progress: where `alive` is given and returns a text, 503.
    `/readyz` is 200 where every check passes, else 503 with the failing checks by name and text. A check
    that raises counts as failing. What `remarks` return is shown there too, and changes nothing.
    `/metrics` is the Prometheus text format.
    """

    def __init__(
        self,
        port: int,
        checks: Mapping[str, Check] | None = None,
        *,
        host: str = "127.0.0.1",
        alive: Check | None = None,
        remarks: Mapping[str, Check] | None = None,
    ) -> None:
        self.port = port
        """The port asked for; after `start` the one that listens (0 takes a free one)."""
        self.host = host
        self._checks = dict(checks or {})
        self._remarks = dict(remarks or {})
        self._alive = alive
        self._started = time.monotonic()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. *Raises* OSError where the port is taken."""
        app = web.Application()
        app.add_routes(
            [web.get("/healthz", self._healthz), web.get("/readyz", self._readyz), web.get("/metrics", self._metrics)]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, self.host, self.port).start()
        self._runner = runner
        self.port = runner.addresses[0][1]
        logger.info("admin port listens", extra={"host": self.host, "port": self.port})

    async def stop(self) -> None:
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        problem = await _outcome(self._alive) if self._alive else None
        body = {"status": "stalled" if problem else "ok", "up_s": round(time.monotonic() - self._started, 1)}
        return web.json_response(body | ({"problem": problem} if problem else {}), status=503 if problem else 200)

    async def _readyz(self, _: web.Request) -> web.Response:
        failing, remarks = await _texts(self._checks), await _texts(self._remarks)
        body = {"status": "not ready" if failing else "ready", "failing": failing}
        if remarks:
            body["remarks"] = remarks
        return web.json_response(body, status=503 if failing else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _texts(checks: Mapping[str, Check]) -> dict[str, str]:
    return {name: text for name, check in checks.items() if (text := await _outcome(check)) is not None}


async def _outcome(check: Check) -> str | None:
    try:
        result = check()
        return await result if inspect.isawaitable(result) else result
    except Exception as error:  # noqa: BLE001 - whatever a check raises is its answer
        return f"{type(error).__name__}: {error}"
