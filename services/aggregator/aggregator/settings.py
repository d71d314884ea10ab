"""Settings of the aggregator: the shared ones, and how often it commits."""

from pydantic import Field

from dataforge.runtime.settings import ServiceSettings


class AggregatorSettings(ServiceSettings):
    commit_interval_ms: int = Field(
        default=100, ge=1, le=60_000, description="Least time between two commits of a partition", examples=[100]
    )
    commit_max_rows: int = Field(
        default=20_000, ge=1, description="Pending rows at which a partition commits at once", examples=[20_000]
    )
    idle_after_ms: int = Field(
        default=10_000,
        ge=100,
        description="A partition without a record for this long lets the others' windows settle without it",
        examples=[10_000],
    )
    feed_cap: int = Field(
        default=5_000, ge=100, description="Commits a partition's update feed keeps for readers", examples=[5_000]
    )
    feed_bytes: int = Field(
        default=32 * 1024 * 1024,
        ge=1024 * 1024,
        description="Bytes, about, that a partition's update feed keeps: fewer commits where they are large",
        examples=[33_554_432],
    )
