"""Each guard taken away is noticed, and the platform as it is passes the same schedules."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from simulation.directed import SCENARIOS
from simulation.mutants import MUTANTS
from simulation.mutate import Edit, Stale, apply
from simulation.run import simulate


@pytest.fixture(scope="module")
def hunted() -> dict[str, Any]:
    """What gave each mutant away. In another process: this one has imported the platform as it is."""
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-m", "simulation.mutate"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=900, check=False, env=os.environ | {"PYTHONPATH": paths}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_guard_taken_away_is_noticed(name: str, hunted: dict[str, Any]) -> None:
    found = hunted[name]
    assert "error" not in found, found["error"]
    assert found["violations"], f"nobody noticed that it is not so that {MUTANTS[name].guard}"
    unharmed = simulate(found["seed"], scenario=MUTANTS[name].scenario)
    assert not unharmed.violations, str(unharmed)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_platform_passes_directed_schedules(scenario: str) -> None:
    for seed in range(10):
        outcome = simulate(seed, scenario=scenario)
        assert not outcome.violations, str(outcome)


def test_a_mutant_whose_guard_has_moved_is_stale() -> None:
    with pytest.raises(Stale):
        apply("a = 1\n", [Edit("m", "b = 1\n", "")])
