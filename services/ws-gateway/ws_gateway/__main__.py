"""python -m ws_gateway"""

import logging
from functools import partial
from typing import NoReturn

from dataforge.runtime.process import run, starting


def main() -> NoReturn:
    with starting():
        from dataforge.runtime.logs import configure_logging
        from dataforge.runtime.settings import load_settings
        from dataforge.runtime.tracing import configure_tracing

        from ws_gateway.settings import GatewaySettings

        settings = load_settings(GatewaySettings)  # what is unusable is told before all else is loaded
        from ws_gateway.serve import serve

    configure_logging("ws-gateway", settings.log_level)
    logging.getLogger("picows").setLevel(logging.WARNING)  # it tells of every connection; the metrics do as well
    configure_tracing("ws-gateway", settings.otlp_endpoint, instance=settings.instance)
    run(partial(serve, settings=settings))


if __name__ == "__main__":
    main()
