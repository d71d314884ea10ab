"""python -m ws_gateway"""

import asyncio
import logging
from functools import partial

from dataforge.contracts.load import load_domains
from dataforge.runtime.admin import AdminServer
from dataforge.runtime.logs import configure_logging
from dataforge.runtime.process import run
from dataforge.runtime.settings import load_settings
from dataforge.runtime.tracing import configure_tracing, stop_tracing
from dataforge.state.redis import RedisState

from ws_gateway.app import Gateway
from ws_gateway.settings import GatewaySettings


async def main(stop: asyncio.Event, settings: GatewaySettings) -> None:
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


if __name__ == "__main__":
    settings = load_settings(GatewaySettings)
    configure_logging("ws-gateway", settings.log_level)
    logging.getLogger("picows").setLevel(logging.WARNING)  # it tells of every connection; the metrics do as well
    configure_tracing("ws-gateway", settings.otlp_endpoint, instance=settings.instance)
    run(partial(main, settings=settings))
