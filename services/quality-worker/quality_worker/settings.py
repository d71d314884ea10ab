"""Settings of quality-worker: the shared ones."""

from dataforge.runtime.settings import ServiceSettings


class QualitySettings(ServiceSettings):
    pass
