"""The platform's workers under drawn faults: nothing lost, nothing counted twice, everything finishes."""

import pytest

from simulation.run import simulate

RUNS = 60


@pytest.mark.parametrize("block", range(4))
def test_drawn_schedules_violate_nothing(block: int) -> None:
    for seed in range(block * RUNS // 4, (block + 1) * RUNS // 4):
        outcome = simulate(seed)
        assert not outcome.violations, str(outcome)


def test_a_seed_replays_exactly() -> None:
    first, second = simulate(7), simulate(7)
    assert first.trace == second.trace
    assert first == second
    assert first.trace != simulate(8).trace
