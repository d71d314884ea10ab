"""One run: a world, a schedule of faults, then calm; what was violated, and what was done."""

import asyncio
import gc
import logging
import random as global_random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from simulation import check, directed, schedule
from simulation.loop import Stuck
from simulation.schedule import Step
from simulation.setup import GROUPS, Setup
from simulation.world import World

FINISH_S = 60.0
"""Longest time, of the simulation's, that the platform may need to catch up once faults have stopped."""
SETTLE_S = 2.5
"""Enough for a watcher to notice that its feed was rolled back."""
SETTLED = 4
"""What is wrong this many times after all was finished stays wrong."""


@dataclass
class Outcome:
    seed: int
    setup: Setup
    steps: Sequence[Step]
    scenario: str
    violations: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    deaths: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """What one needs to see it again."""
        lines = [
            f"seed {self.seed}, {self.setup}, {self.scenario or 'drawn'}",
            f"steps = {schedule.describe(self.steps)}",
            *self.trace[-400:],
        ]
        return "\n".join([*lines, *(f"VIOLATION {problem}" for problem in self.violations)])


def simulate(seed: int, steps: Sequence[Step] | None = None, setup: Setup | None = None, scenario: str = "") -> Outcome:
    """Play a drawn schedule, these steps, or a directed scenario. The same arguments, the same outcome and trace."""
    random = Random(seed)
    drawn = directed.SETUP if scenario else Setup.drawn(random)
    setup = setup or drawn
    if steps is None:
        steps = [] if scenario else schedule.drawn(random)
    with _alone():
        world = World(seed, setup)
        violations: list[str] = []
        try:
            world.loop.run(_play(world, steps, scenario, violations))
        except Stuck as stuck:
            violations.append(f"deadlock: {stuck}")
    counts = {
        "commits": world.state.committed,
        "puts": world.store.created,
        "sends": world.log.produced,
        "records": world.tally.produced,
        "events": world.loop.steps,
        "reads": world.tally.reads,
    }
    faults = dict(world.tally.faults + world.network.faults)
    return Outcome(seed, setup, steps, scenario, violations, world.trace, faults, dict(world.tally.deaths), counts)


@contextmanager
def _alone() -> Iterator[None]:
    """No collection of garbage, whose moment is not the seed's; no log lines; and the jitter's source given back."""
    state, level = global_random.getstate(), logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        logging.disable(level)
        global_random.setstate(state)


def brief(seed: int) -> Outcome:
    """Without the trace, which is long, and of use where something is wrong only."""
    outcome = simulate(seed)
    if not outcome.violations:
        outcome.trace.clear()
    return outcome


def hunt(scenario: str, seeds: int, shows: str) -> Outcome | None:
    """The first seed with a violation that says this."""
    for seed in range(seeds):
        outcome = simulate(seed, scenario=scenario)
        if any(shows in violation for violation in outcome.violations):
            return outcome
    return None


async def _play(world: World, steps: Sequence[Step], scenario: str, violations: list[str]) -> None:
    world.start_all()
    await asyncio.sleep(0.3)
    if scenario:
        found = await directed.SCENARIOS[scenario](world, world.random)
        if found is not None:
            violations.extend(found)
            return
    for step in steps:
        await asyncio.sleep(schedule.perform(world, step))
        _look(world, violations)
        if violations:
            return
    await _calm(world)
    deadline, settled = world.loop.time() + FINISH_S, 0
    while world.loop.time() < deadline and settled < SETTLED:
        await asyncio.sleep(1.0)
        if not check.unfinished(world):
            settled += 1
            await asyncio.sleep(SETTLE_S)
            if not check.final_problems(world):
                return
    violations.extend(check.final_problems(world) or ["finished too late"])


async def _calm(world: World) -> None:
    """Faults stop: what is on its way arrives, who was stopped goes on, and everybody hears of everybody."""
    world.say("--- faults stop")
    world.network.clear()
    for group in world.groups.values():
        group.late = 0.0
    await asyncio.sleep(world.network.busy_until_s - world.loop.time())
    for worker in list(world.workers):
        worker.process.resume()
        group = world.group_of(worker)
        if worker not in group.members:
            group.members.append(worker)
    for name in GROUPS:
        world.groups[name].rebalance()
        world.top_up(name)


def _look(world: World, violations: list[str]) -> None:
    """A reader comes by."""
    if world.random.random() < 0.3:
        world.tally.reads += 1
        violations.extend(check.state_problems(world, world.random.randrange(world.setup.partitions)))
