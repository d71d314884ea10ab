"""The gateway's process, from its settings to its end."""

import asyncio

from dataforge.contracts.load import load_domains
from dataforge.runtime.admin import AdminServer
from dataforge.runtime.tracing import stop_tracing
from dataforge.state.redis import RedisState

from ws_gateway.app import Gateway
from ws_gateway.settings import GatewaySettings


async def serve(stop: asyncio.Event, settings: GatewaySettings) -> None:
    state = RedisState(settings.redis_url)
    gateway = Gateway(settings, load_domains(settings.domain_folders), state)
    admin = AdminServer(settings.admin_port, {"feed": lambda: gateway.follower.problem}, host=settings.admin_host)
    await admin.start()
    try:
        await gateway.run(stop)
    finally:
        await admin.stop()
        await state.close()
        await asyncio.to_thread(stop_tracing)
