"""The platform's workers under drawn faults: nothing lost, nothing counted twice, everything finishes."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulation.run import simulate
from simulation.schedule import STEPS, Step
from simulation.setup import Setup

RUNS, BLOCKS = 60, 4

step = st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 2**30 - 1))
setup = st.builds(
    Setup,
    partitions=st.sampled_from((1, 2)),
    workers=st.sampled_from((1, 2)),
    scale=st.sampled_from((1.0, 5.0, 20.0)),
    object_rows=st.sampled_from((3, 20)),
    commit_s=st.sampled_from((0.0, 0.3)),
    feed_cap=st.sampled_from((2, 30)),
)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_drawn_schedules_violate_nothing(block: int) -> None:
    for seed in range(block, RUNS, BLOCKS):
        outcome = simulate(seed)
        assert not outcome.violations, str(outcome)


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(steps=st.lists(step, max_size=30), seed=st.integers(0, 1_000), setup=setup)
def test_what_violates_something_would_shrink(steps: list[Step], seed: int, setup: Setup) -> None:
    """Hypothesis draws the schedule itself: it knows how to find the shortest one."""
    outcome = simulate(seed, steps, setup)
    assert not outcome.violations, str(outcome)


def test_a_seed_replays_exactly() -> None:
    first, second = simulate(7), simulate(7)
    assert first.trace == second.trace
    assert first == second
    assert first.trace != simulate(8).trace
