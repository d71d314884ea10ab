"""`kill -9` of services and servers in the middle of a replay: the comparison with the oracle stays exact.

`make test` kills three in one replay; `make chaos` (CHAOS=all) kills each service and server in a replay of its own.
The seed is printed; CHAOS_SEED repeats a run.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from devstack.commands.replaying import horizons
from devstack.demo.once import Once
from devstack.demo.report import Report
from devstack.oracle.log import end_offsets
from devstack.replay.plan import Faults
from devstack.replay.replay import TOPIC, Options
from devstack.stack import Stack

RETAIL = Path(__file__).parents[2] / "domains" / "retail"
EVENTS, RATE = 60_000, 4_000
FAULTS = Faults(duplicates=0.01, late=0.01, out_of_order=0.01, malformed=0.005)
THREE = ("aggregator", "quality-worker", "valkey")
EVERY = ("landing-worker", "quality-worker", "aggregator", "query-api", "ws-gateway", "kafka", "valkey", "s3proxy")
BACK_S = 60

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(420)]


@contextmanager
def quiet(_: str, __: int) -> Iterator[Callable[[int], None]]:
    yield lambda _: None


async def ready(stack: Stack, name: str, *, not_pid: int = 0) -> int:
    """Its pid, once it answers. It may be down for another's sake: an owner leaves when the store is killed."""
    async with asyncio.timeout(BACK_S):
        while True:
            program = stack.state().program(name)
            if program.pid not in (0, not_pid) and program.state == "ready":
                return program.pid
            await asyncio.sleep(0.05)


async def in_flight(stack: Stack) -> bool:
    """Whether the log still grows: a fault that hits an idle platform proves nothing."""
    before = await end_offsets(stack.endpoints().kafka, TOPIC)
    await asyncio.sleep(0.3)
    return await end_offsets(stack.endpoints().kafka, TOPIC) != before


async def kill(stack: Stack, name: str, at_s: float) -> None:
    await asyncio.sleep(max(0.0, at_s - time.monotonic()))
    assert await in_flight(stack), f"nothing was in flight when {name} was to be killed"
    pid = await ready(stack, name)
    with suppress(ProcessLookupError):  # left by itself in this very moment, which is as good
        os.kill(pid, signal.SIGKILL)
    assert await ready(stack, name, not_pid=pid) != pid


async def replay_and_kill(folder: Path, names: tuple[str, ...], seed: int) -> Report:
    """A replay with each of `names` killed once, at random between 20 % and 80 % of it."""
    chosen = random.Random(seed)
    progress: Callable[[str, int], AbstractContextManager[Callable[[int], None]]] = quiet
    with Stack.start(folder, [RETAIL], tied=True) as stack:
        once = Once(stack.endpoints(), horizons(), Options(rate=RATE, faults=FAULTS, seed=seed), progress)
        begin_s, length_s = time.monotonic(), EVENTS / RATE
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(once.run(EVENTS, with_latency=False))
            for name in names:
                tasks.create_task(kill(stack, name, begin_s + length_s * chosen.uniform(0.2, 0.8)))
    return running.result()


def agrees(report: Report) -> None:
    assert report.agrees, (report.problems, report.first_differences)
    assert report.windows_compared > 1_000
    assert report.counted + report.duplicates + report.late == report.valid
    assert report.late > 0
    assert report.duplicates > 0


@pytest.fixture
def seed() -> int:
    chosen = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))
    print(f"CHAOS_SEED={chosen}")  # noqa: T201 - shown when the test fails
    return chosen


async def test_three_killed_in_one_replay_change_nothing(tmp_path: Path, seed: int) -> None:
    agrees(await replay_and_kill(tmp_path, THREE, seed))


@pytest.mark.skipif(os.environ.get("CHAOS") != "all", reason="the whole matrix runs by `make chaos`")
@pytest.mark.parametrize("name", EVERY)
async def test_each_killed_alone_changes_nothing(tmp_path: Path, seed: int, name: str) -> None:
    agrees(await replay_and_kill(tmp_path, (name,), seed))
