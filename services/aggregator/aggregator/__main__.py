from aggregator.app import build
from aggregator.settings import AggregatorSettings
from dataforge.runtime.settings import load_settings

if __name__ == "__main__":
    build(load_settings(AggregatorSettings)).run()
