from dataforge.runtime.settings import load_settings

from aggregator.app import build
from aggregator.settings import AggregatorSettings

if __name__ == "__main__":
    build(load_settings(AggregatorSettings)).run()
