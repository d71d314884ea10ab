"""python -m quality_worker"""

from typing import NoReturn

from dataforge.runtime.process import starting


def main() -> NoReturn:
    with starting():
        from dataforge.runtime.settings import load_settings

        from quality_worker.app import build
        from quality_worker.settings import QualitySettings

        app = build(load_settings(QualitySettings))
    app.run()


if __name__ == "__main__":
    main()
