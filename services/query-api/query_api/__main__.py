"""python -m query_api"""

from functools import partial
from typing import NoReturn

from dataforge.runtime.process import run, starting


def main() -> NoReturn:
    with starting():
        from dataforge.runtime.logs import configure_logging
        from dataforge.runtime.settings import load_settings
        from dataforge.runtime.tracing import configure_tracing

        from query_api.settings import ApiSettings

        settings = load_settings(ApiSettings)  # what is unusable is told before all else is loaded
        from query_api.serve import serve

    configure_logging("query-api", settings.log_level)
    configure_tracing("query-api", settings.otlp_endpoint, instance=settings.instance)
    run(partial(serve, settings=settings))


if __name__ == "__main__":
    main()
