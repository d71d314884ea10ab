"""Faults in the middle of a replay, and an oracle that finds nothing lost, doubled or wrong.

`make test` has a short run with one fault of each family; `make chaos` (CHAOS=all) a longer one with every kind.
The seed is printed; CHAOS_SEED repeats a run. How fast a loaded machine recovers is not judged here: that a stage
comes back is. `dataforge chaos` judges both.
"""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devstack.chaos.director import Director
from devstack.chaos.kinds import KINDS
from devstack.chaos.report import Report
from devstack.chaos.run import Options, Run
from devstack.chaos.watch import Watch
from devstack.commands.replaying import horizons

RETAIL = Path(__file__).parents[2] / "domains" / "retail"
FAMILIES = ("kill", "zombie", "redis_tail", "broker_restart", "net_drop", "net_refuse", "s3_errors")
BACK_S = 240.0

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.slow]


@contextmanager
def quiet(_director: Director, _watch: Watch) -> Iterator[None]:
    yield


@pytest.fixture
def seed() -> int:
    chosen = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))
    print(f"CHAOS_SEED={chosen}")  # noqa: T201 - shown when the test fails
    return chosen


async def broken(folder: Path, options: Options) -> Report:
    return await Run(options, RETAIL, horizons(), quiet).happen(folder)


def holds(report: Report, faults: int) -> None:
    assert report.passed, report.problems
    assert (report.lost, report.double_counted, report.wrong_windows) == (0, 0, 0)
    assert sum(report.faults.values()) == faults
    assert report.events > 20_000
    assert report.windows_compared > 1_000
    assert report.expected["counted"] > report.expected["duplicate"] > 0
    assert report.expected["late"] > 0
    assert report.ws["rows_compared"] > 100
    assert report.ws["cuts"] > 0
    assert all(hit.in_flight["grown_by"] > 0 for hit in report.recovery_s)


@pytest.mark.timeout(900)
@pytest.mark.skipif(os.environ.get("CHAOS") == "all", reason="the long one has all of it")
async def test_one_fault_of_each_family_changes_nothing(tmp_path: Path, seed: int) -> None:
    kinds = {name: KINDS[name] for name in FAMILIES}
    options = Options(1.0, len(FAMILIES), seed, kinds, rate=600, max_recovery_s=BACK_S)
    holds(await broken(tmp_path, options), len(FAMILIES))


@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.environ.get("CHAOS") != "all", reason="every kind of fault: by `make chaos`")
async def test_every_kind_of_fault_changes_nothing(tmp_path: Path, seed: int) -> None:
    kinds = {name: kind for name, kind in KINDS.items() if kind.unavailable() is None}
    options = Options(5.0, 25, seed, kinds, max_recovery_s=BACK_S)
    holds(await broken(tmp_path, options), 25)
