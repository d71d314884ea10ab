"""The server of the API, from its settings to its end."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from dataforge.contracts.load import load_domains
from dataforge.runtime.admin import AdminServer
from dataforge.runtime.tracing import stop_tracing
from dataforge.state.redis import RedisState

from query_api.app import build
from query_api.outside import outside
from query_api.query.wiring import asking
from query_api.settings import ApiSettings


class Server(uvicorn.Server):
    """Leaves signals to `dataforge.runtime.process`."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(stop: asyncio.Event, settings: ApiSettings) -> None:
    domains, state = load_domains(settings.domain_folders, queries=True), RedisState(settings.redis_url)
    async with (
        outside(settings, domains, state) as (observer, watch, past, reports),
        asking(settings, domains) as asker,
    ):
        server = Server(
            uvicorn.Config(
                build(settings, domains, state, observer, watch, past, reports, asker),
                host=settings.host,
                port=settings.port,
                ws="none",  # an upgrade is answered by 426, not taken
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=5,
                server_header=False,
            )
        )
        # What is unbalanced is said and stops nobody: an API taken away would only hide it.
        remarks = {"ledger": watch.summary}
        admin = AdminServer(settings.admin_port, {"state": state.ping}, host=settings.admin_host, remarks=remarks)
        await admin.start()
        stopping = asyncio.create_task(_stop(stop, server))
        try:
            await server.serve()
        finally:
            stopping.cancel()
            await admin.stop()
            await asyncio.to_thread(stop_tracing)


async def _stop(stop: asyncio.Event, server: Server) -> None:
    await stop.wait()
    server.should_exit = True
