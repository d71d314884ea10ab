"""Schedules: lists of (what happens, a number it draws from). The same list does the same again."""

from collections.abc import Callable, Sequence
from random import Random

from simulation.loop import Process
from simulation.network import Weather
from simulation.setup import GROUPS
from simulation.worker import Worker
from simulation.world import World

Step = tuple[str, int]

SESSION_S = 6.0
AMBUSHED = ("commit", "claim", "load", "load-windows", "owner", "send", "put", "list", "read", "bounds", "get")
"""Calls in whose midst something may happen."""


def produce(world: World, random: Random) -> None:
    world.produce(random, random.choice((1, 2, 5, 12)))


def crash(world: World, random: Random) -> None:
    if victim := _any_worker(world, random):
        world.fault("crash", str(victim.process))
        world.crash(victim)


def pause(world: World, random: Random) -> None:
    """SIGSTOP, often for longer than the session: it goes on as a zombie, and hears of it later."""
    if victim := _any_worker(world, random):
        stop(world, victim, random.choice((0.5, 3.0, 8.0, 20.0)), random.uniform(0, 8))


def stop(world: World, victim: Worker, seconds: float, unheard_s: float) -> None:
    if victim.process.paused or not victim.process.alive:
        return
    world.fault("pause", f"{victim.process} {seconds} s")
    victim.process.pause()
    later = world.loop.environment.call_later
    group = world.group_of(victim)

    def evict() -> None:
        if victim.process.alive and victim in group.members:
            group.members.remove(victim)
            group.rebalance()

    def go_on() -> None:
        if victim.process.alive and victim.process.paused:
            world.say(f"{victim.process} goes on")
            victim.process.resume()
            later(unheard_s, rejoin)

    def rejoin() -> None:
        if victim in world.workers and victim not in group.members:
            group.join(victim)

    if seconds > SESSION_S:
        later(SESSION_S, evict)
    later(seconds, go_on)


def rebalance(world: World, random: Random) -> None:
    group = world.groups[random.choice(GROUPS)]
    world.fault("rebalance", group.name)
    group.late = random.choice((0.0, 0.0, 0.5))
    group.rebalance()


def add_worker(world: World, random: Random) -> None:
    group = random.choice(GROUPS)
    if world.wanted[group] < 3:
        world.fault("worker added", group)
        world.wanted[group] += 1
        world.top_up(group)


def remove_worker(world: World, random: Random) -> None:
    """It closes in peace, as on SIGTERM, while the group is told at once."""
    group = random.choice(GROUPS)
    members = [worker for worker in world.workers if world.group_of(worker).name == group]
    if world.wanted[group] > 1 and members:
        victim = random.choice(members)
        world.fault("worker removed", str(victim.process))
        world.wanted[group] -= 1
        world.retire(victim)


def storm(world: World, random: Random) -> None:
    """Calls get lost, late, or lose their answer, until the next change of weather."""
    world.network.weather = random.choice(
        (
            Weather(),
            Weather(slow=0.3),
            Weather(lost=0.03, late=0.03, unanswered=0.03, slow=0.1, unsent=0.1),
            Weather(late=0.1, slow=0.2),
            Weather(unanswered=0.1),
        )
    )
    world.say(f"weather {world.network.weather}")


def roll_back(world: World, random: Random) -> None:
    world.roll_back(random.choice((1, 2, 3, 5, 8, 25)))


def wipe(world: World, random: Random) -> None:
    """All state is lost: it comes back from the logs, and from what is landed of them."""
    world.state.wipe()
    world.fault("state wiped")


def retain(world: World, random: Random) -> None:
    """Retention overtakes readers: the log keeps only what is not landed, or a little more."""
    tp = random.choice(world.raw + world.judged)
    end = world.chain_end(tp)
    below = max(0, end - random.choice((0, 0, 3, 20)))
    if below > world.memory_log.begin(tp):
        world.fault("retention", f"{tp.topic}/{tp.partition} begins at {below}")
        world.memory_log.truncate(tp, below)


def deploy(world: World, random: Random) -> None:
    """Judges started from now on have another contract; some are replaced at once."""
    world.deployed = random.choice(("exact", "strict"))
    world.fault("deploy", world.deployed)
    for worker in [w for w in world.workers if world.group_of(w).name == "quality"]:
        if random.random() < 0.5:
            world.crash(worker)


def crash_gateway(world: World, random: Random) -> None:
    world.fault("gateway crash")
    world.start_gateway()


def cut_client(world: World, random: Random) -> None:
    client = random.choice(world.clients)
    if world.gateway is not None and client.channel is not None:
        world.fault("client cut")
        world.gateway.cut(client, random.choice((0.01, 0.5, 5.0)))


def change_leader(world: World, random: Random) -> None:
    """The broker that leads now has another clock."""
    world.behind_ms = random.choice((0, 0, 500, 5_000))
    world.fault("leader change", f"its clock is {world.behind_ms} ms behind")


def sparse(world: World, random: Random) -> None:
    world.log.sparse = random.choice((0.0, 0.3))


def ambush(world: World, random: Random) -> None:
    """Something happens exactly before or after a call's effect."""
    what = random.choice(AMBUSHED)
    when = random.choice(("before", "after"))
    kind = random.choice(("crash", "pause", "rollback", "rebalance"))
    steps, seconds, unheard_s = random.choice((1, 2, 4)), random.choice((1.0, 8.0, 15.0)), random.uniform(0, 8)

    def act(caller: Process) -> None:
        victim = next((worker for worker in world.workers if worker.process is caller), None)
        if kind == "rollback":
            world.roll_back(steps, f"{when} {what}")
        elif victim is None:
            return
        elif kind == "crash":
            world.fault("crash", f"{caller} {when} {what}")
            world.crash(victim)
        elif kind == "pause":
            stop(world, victim, seconds, unheard_s)
        else:
            world.fault("rebalance", f"{when} {what}")
            world.group_of(victim).rebalance()

    world.network.ambush(when, what, act)


def _any_worker(world: World, random: Random) -> Worker | None:
    alive = [worker for worker in world.workers if not worker.process.paused]
    return random.choice(alive) if alive else None


STEPS: dict[str, tuple[int, Callable[[World, Random], None]]] = {
    "produce": (90, produce),
    "crash": (6, crash),
    "pause": (5, pause),
    "rebalance": (4, rebalance),
    "add": (2, add_worker),
    "remove": (2, remove_worker),
    "storm": (9, storm),
    "rollback": (6, roll_back),
    "wipe": (1, wipe),
    "retain": (5, retain),
    "deploy": (2, deploy),
    "gateway": (1, crash_gateway),
    "cut": (4, cut_client),
    "leader": (1, change_leader),
    "sparse": (1, sparse),
    "ambush": (16, ambush),
}


def drawn(random: Random) -> list[Step]:
    names, weights = list(STEPS), [weight for weight, _ in STEPS.values()]
    length = random.choice((20, 60, 150))
    return [(name, random.getrandbits(30)) for name in random.choices(names, weights, k=length)]


def pause_after(random: Random) -> float:
    """How long the world goes on before the next step, s."""
    return random.choice((0.0, 0.01, 0.05, 0.1, 0.2, 0.5))


def perform(world: World, step: Step) -> float:
    """Do it. Returns how long to wait before the next one."""
    name, number = step
    random = Random(number)
    STEPS[name][1](world, random)
    return pause_after(random)


def describe(steps: Sequence[Step]) -> str:
    return "[" + ", ".join(f"({name!r}, {number})" for name, number in steps) + "]"
