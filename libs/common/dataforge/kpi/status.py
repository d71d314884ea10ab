"""Whether a window can still change. Pure."""

from collections.abc import Iterable
from typing import Literal

Status = Literal["provisional", "final"]


def window_status(end_ms: int, lateness_ms: int, watermarks: Iterable[int]) -> Status:
    """`final` once every partition that ever had a record has sealed the window (watermark 0: never had one)."""
    started = [w for w in watermarks if w]
    return "final" if started and all(end_ms + lateness_ms <= w for w in started) else "provisional"
