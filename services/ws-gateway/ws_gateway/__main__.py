"""python -m ws_gateway"""

from functools import partial

from dataforge.runtime.logs import configure_logging
from dataforge.runtime.process import run
from dataforge.runtime.settings import load_settings
from dataforge.runtime.tracing import configure_tracing

from ws_gateway.app import main
from ws_gateway.settings import GatewaySettings

if __name__ == "__main__":
    settings = load_settings(GatewaySettings)
    configure_logging("ws-gateway", settings.log_level)
    configure_tracing("ws-gateway", settings.otlp_endpoint, instance=settings.instance)
    run(partial(main, settings=settings))
