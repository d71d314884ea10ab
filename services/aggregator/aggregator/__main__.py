"""python -m aggregator"""

from typing import NoReturn

from dataforge.runtime.process import starting


def main() -> NoReturn:
    with starting():
        from dataforge.runtime.settings import load_settings

        from aggregator.app import build
        from aggregator.settings import AggregatorSettings

        app = build(load_settings(AggregatorSettings))
    app.run()


if __name__ == "__main__":
    main()
