"""Settings of landing-worker: the shared ones, and how large an object gets."""

from pydantic import Field

from dataforge.runtime.settings import ServiceSettings


class LandingSettings(ServiceSettings):
    object_max_age_ms: int = Field(
        default=1_000, ge=50, le=900_000, description="Oldest record an object waits for company", examples=[1_000]
    )
    object_max_rows: int = Field(default=50_000, ge=1, description="Rows at which an object is cut", examples=[50_000])
    object_max_bytes: int = Field(
        default=16 * 1024 * 1024, ge=1024, description="Bytes of keys and values at which an object is cut"
    )
