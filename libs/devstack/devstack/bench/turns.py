"""Rounds in which the contestants take turns."""

from collections.abc import Awaitable, Callable, Mapping
from itertools import product

from devstack.bench.contest import Measured
from devstack.bench.process import Cost
from devstack.errors import StackError

Turn = Callable[[int], Awaitable[Measured]]
"""The number of a round -> what a contestant cost in it."""
Say = Callable[[str], None]


async def in_turns(turns: Mapping[str, Turn], rounds: int, say: Say) -> dict[str, list[Measured]]:
    """*Raises* what a turn does."""
    taken: dict[str, list[Measured]] = {name: [] for name in turns}
    for number, (name, turn) in product(range(1, rounds + 1), turns.items()):
        measured = await turn(number)
        taken[name].append(measured)
        say(f"round {number}: {name} {measured.events / measured.cpu_s:,.0f} events per CPU-second")
    return taken


def net(start: Cost, whole: Cost, events: int, answer: str, expected: str) -> Measured:
    """What the events cost, without the start. *Raises* `StackError` where they were too few to tell."""
    cpu_s, wall_s = whole.cpu_s - start.cpu_s, whole.wall_s - start.wall_s
    if cpu_s <= 0:
        raise StackError(f"{events} events cost no more than a start: measure more of them")
    return Measured(events, cpu_s, wall_s, whole.peak_mib, answer, expected)
