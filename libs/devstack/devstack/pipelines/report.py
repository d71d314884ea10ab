"""What a run of a pipeline came to, step by step."""

from typing import Literal

import msgspec

Status = Literal["waiting", "running", "done", "failed", "skipped", "left_out"]
"""skipped: a step that it needs was not done; left_out: the run began behind it."""


class StepReport(msgspec.Struct):
    step: str
    run: tuple[str, ...]
    """Arguments of `dataforge`."""
    status: Status = "waiting"
    attempts: int = 0
    seconds: float = 0.0
    """All attempts, with the pauses between them."""
    exit_code: int | None = None
    """Of the last attempt; null where that ended by its time limit, or there was none. Negative: a signal."""
    said: str = ""
    """Last words of the last attempt."""
    log: str = ""
    """File with all it said."""


class Report(msgspec.Struct):
    pipeline: str
    began: str
    """UTC, ISO 8601."""
    steps: list[StepReport]
    seconds: float = 0.0

    def of(self, status: Status) -> list[StepReport]:
        return [step for step in self.steps if step.status == status]

    @property
    def passed(self) -> bool:
        return not self.of("failed")
