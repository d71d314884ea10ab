"""Settings of quality-worker: the shared ones, and when too much is rejected."""

from pydantic import Field

from dataforge.runtime.settings import ServiceSettings

from quality_worker.limits import Limits


class QualitySettings(ServiceSettings):
    reject_limits: bool = Field(
        default=True,
        description="Pause a topic when too many of its records are rejected; off for replays of bad data that mean it",
        examples=["on", "off"],
    )
    max_rejected_ratio: float = Field(
        default=0.2, gt=0, le=1, description="Share of a partition's last `REJECT_WINDOW` records that may be rejected"
    )
    reject_window: int = Field(default=1_000, ge=1, description="Records that share is taken of; fewer never pause")
    max_rejected_run: int = Field(default=1_000, ge=1, description="Records in a row that may be rejected")

    @property
    def limits(self) -> Limits | None:
        if not self.reject_limits:
            return None
        return Limits(self.max_rejected_ratio, self.reject_window, self.max_rejected_run)
