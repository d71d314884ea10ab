from dataforge.runtime.settings import load_settings

from quality_worker.app import build
from quality_worker.settings import QualitySettings

if __name__ == "__main__":
    build(load_settings(QualitySettings)).run()
