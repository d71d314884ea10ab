"""Directed schedules: moments that drawn ones meet once in thousands.

Each drives a world of one partition to the moment where one guard is all that is left. It returns what is wrong, or
None where the world shall come to rest and be checked like any other.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from simulation import check
from simulation.loop import Process
from simulation.setup import Setup
from simulation.world import World

Scenario = Callable[[World, Random], Awaitable[list[str] | None]]

SETUP = Setup(kind="exact", partitions=1, workers=1, scale=5.0, object_rows=3, object_age_s=0.1, commit_s=0.0)


async def _until(condition: Callable[[], object], limit_s: float = 20.0) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    while not condition() and loop.time() < deadline:
        await asyncio.sleep(0.005)
    return bool(condition())


async def _work(world: World, random: Random, rounds: int = 4) -> None:
    """A few rounds of records, each worked off."""
    for _ in range(rounds):
        world.produce(random, random.randint(2, 6))
        await asyncio.sleep(random.uniform(0.05, 0.3))
    await _until(lambda: not check.unfinished(world))


async def commit_between_the_steps_of_a_load(world: World, random: Random) -> None:
    """A new owner loads in two steps; between them the old one, who heard of nothing, commits; then that is lost."""
    await _work(world, random)
    old = next(worker for worker in world.workers if world.group_of(worker).name == "aggregate")
    new = world.start("aggregate", join=False)

    def meanwhile(caller: Process) -> None:
        if caller is not new.process:
            return
        caller.pause()
        world.network.ambush("after", "load-windows", lambda _: world.roll_back(1) if committed() else None)
        world.loop.environment.spawn(_old_commits())

    before = 0

    def committed() -> bool:
        return world.state.committed > before

    async def _old_commits() -> None:
        nonlocal before
        before = world.state.committed
        world.produce(random, random.randint(2, 5))
        await _until(lambda: committed() or not old.process.alive, 5.0)
        new.process.resume()

    world.network.ambush("after", "load", meanwhile)
    new.assign(world.judged)
    await asyncio.sleep(10.0)
    world.produce(random, 3)
    await asyncio.sleep(3.0)


async def rollback_before_a_commit(world: World, random: Random) -> None:
    """The store loses its last commits, but not the claim, right before the owner's next one."""
    await _work(world, random)
    lost = random.randint(1, 3)
    world.network.ambush("before", "commit", lambda _: world.roll_back(lost))
    world.produce(random, random.randint(1, 3))
    await asyncio.sleep(random.uniform(0.1, 3.0))


async def rollback_of_an_idle_owner(world: World, random: Random) -> list[str]:
    """The store loses its last commits, and no record comes that would make the owner commit again."""
    await _work(world, random)
    world.roll_back(random.randint(1, 3))
    await _until(lambda: not check.unfinished(world), 30.0)
    return check.unfinished(world)


async def late_put(world: World, random: Random) -> None:
    """A PUT is on its way when its worker dies; it arrives after the next owner has landed something else."""
    await _work(world, random)
    landing = next(worker for worker in world.workers if world.group_of(worker).name == "land")
    calls = world.network.calls["put"]
    world.network.doom("put", "late")
    world.produce(random, 1)
    await _until(lambda: world.network.calls["put"] > calls)
    world.crash(landing)
    for _ in range(4):
        world.produce(random, random.randint(1, 3))
        await asyncio.sleep(random.uniform(0.5, 2.0))


async def lost_put(world: World, random: Random) -> None:
    """A PUT never reaches the store, and there is more to land."""
    await _work(world, random)
    world.network.doom("put", "lost")
    for _ in range(6):
        world.produce(random, random.randint(2, 4))
        await asyncio.sleep(random.uniform(0.2, 1.0))


async def lost_send(world: World, random: Random) -> list[str]:
    """A batch of verdicts never reaches the log; nothing else happens."""
    await _work(world, random)
    sends = world.network.calls["send"]
    world.network.doom("send", "lost")
    world.produce(random, 1)
    await _until(lambda: world.network.calls["send"] > sends)
    for _ in range(3):
        world.produce(random, random.randint(1, 3))
        await asyncio.sleep(random.uniform(0.5, 3.0))
    await _until(lambda: not check.unfinished(world), 30.0)
    await asyncio.sleep(3.0)
    return check.final_problems(world)


async def repeated_send(world: World, random: Random) -> None:
    """A batch of verdicts reaches the log after its worker has gone, and the next one has judged the same records."""
    await _work(world, random)
    world.network.doom("send", random.choice(("late", "unanswered")))
    for _ in range(4):
        world.produce(random, random.randint(1, 3))
        await asyncio.sleep(random.uniform(0.5, 3.0))


async def recreated_topic(world: World, random: Random) -> list[str]:
    """The raw topic is deleted and created again, and its log is longer by now than the one before."""
    await _work(world, random)
    for worker in list(world.workers):
        world.crash(worker)
    tp, log = world.raw[0], world.memory_log
    end, objects, verdicts = log.end(tp), world.chain_end(tp), len(log.history(world.judged[0]))
    log.recreate(tp.topic)
    while log.end(tp) < end + 5:
        world.produce(random, 3)
    log.truncate(tp, end)
    await asyncio.sleep(20.0)
    told: list[str] = []
    if world.chain_end(tp) != objects:
        told.append("recreated raw topic: landed on, and nobody said so")
    if len(log.history(world.judged[0])) != verdicts:
        told.append("recreated raw topic: judged on, and nobody said so")
    if not world.tally.deaths["Fatal"]:
        told.append("recreated raw topic: no worker left because of it")
    return told


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        commit_between_the_steps_of_a_load,
        rollback_before_a_commit,
        rollback_of_an_idle_owner,
        late_put,
        lost_put,
        lost_send,
        repeated_send,
        recreated_topic,
    )
}
