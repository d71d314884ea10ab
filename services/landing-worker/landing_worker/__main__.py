from dataforge.runtime.settings import load_settings

from landing_worker.app import build
from landing_worker.settings import LandingSettings

if __name__ == "__main__":
    build(load_settings(LandingSettings)).run()
