"""python -m landing_worker"""

from typing import NoReturn

from dataforge.runtime.process import starting


def main() -> NoReturn:
    with starting():
        from dataforge.runtime.settings import load_settings

        from landing_worker.app import build
        from landing_worker.settings import LandingSettings

        app = build(load_settings(LandingSettings))
    app.run()


if __name__ == "__main__":
    main()
