"""The lake beside the live path: brought to the log's end, and the live numbers held against it."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from devstack.lake.jobs import asked


class LakeReport(msgspec.Struct, kw_only=True):
    streamed: int
    """Rows of bronze that the stream had brought before a job was called."""
    rows: dict[str, int]
    """Layer -> rows."""
    compared: int
    """Windows; so are the following."""
    equal: int
    corrected: int
    explained: int
    unexplained: int
    first: list[dict[str, Any]]
    elapsed_s: float


Judge = Callable[[], LakeReport]


def judged(jobs: Sequence[str], env: Mapping[str, str], python: Path) -> LakeReport:
    """Run the jobs, then compare. Needs a settled platform. *Raises* `StackError` where the lake does not answer."""
    began_s = time.monotonic()
    streamed = _rows(env, python).get("bronze", 0)
    for job in jobs:
        asked(["run", job], env, python)
    found = msgspec.json.decode(asked(["agree"], env, python, fails_by_answering=True))
    return LakeReport(
        streamed=streamed,
        rows=_rows(env, python),
        elapsed_s=round(time.monotonic() - began_s, 3),
        **{name: found[name] for name in ("compared", "equal", "corrected", "explained", "unexplained", "first")},
    )


def _rows(env: Mapping[str, str], python: Path) -> dict[str, int]:
    return {row["layer"]: row["records"] for row in msgspec.json.decode(asked(["status"], env, python))}


def contradictions(lake: LakeReport, received: int) -> list[str]:
    """What the lake says otherwise, in words. Pure."""
    bronze = lake.rows.get("bronze", 0)
    checks = {
        f"received {received} = rows of bronze {bronze}": received == bronze,
        "the lake compared some window": lake.compared > 0,
        f"unexplained windows {lake.unexplained} = 0": lake.unexplained == 0,
    }
    return [f"does not hold: {text}" for text, holds in checks.items() if not holds]
