"""The simulated loop: virtual time, seeded order, processes that end or stop between two steps."""

import asyncio
from random import Random

import pytest

from simulation.loop import Process, SimulatedLoop, Stuck, running


def order(seed: int) -> list[str]:
    """Who went on when, of three processes with two tasks each."""
    loop, said = SimulatedLoop(Random(seed)), []

    async def talk(name: str) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            said.append(name)

    async def main() -> None:
        tasks = [Process(loop, name).spawn(talk(name)) for name in "abc"]
        await asyncio.gather(*tasks)

    loop.run(main())
    return said


def test_the_order_is_the_seeds() -> None:
    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(10)}) > 5


def test_time_jumps_to_the_next_timer() -> None:
    loop = SimulatedLoop(Random(0))

    async def main() -> float:
        async with asyncio.timeout(7200):
            await asyncio.sleep(3600)
        return loop.time()

    assert loop.run(main()) == 3600


def test_tasks_of_one_process_keep_the_order_asyncio_promises() -> None:
    loop, said = SimulatedLoop(Random(0)), []

    async def main() -> None:
        for n in range(20):
            asyncio.get_running_loop().call_soon(said.append, n)
        await asyncio.sleep(0)

    loop.run(main())
    assert said == list(range(20))


def test_what_is_killed_says_no_last_words() -> None:
    loop, said = SimulatedLoop(Random(0)), []

    async def worker() -> None:
        try:
            assert running().name == "victim"
            await asyncio.sleep(1)
            said.append("on")
            await asyncio.sleep(2)
        finally:
            said.append("cleanup")

    async def main() -> None:
        process = Process(loop, "victim")
        process.spawn(worker())
        await asyncio.sleep(2)
        process.kill()
        await asyncio.sleep(10)
        assert said == ["on"]

    loop.run(main())


def test_what_is_stopped_goes_on_later_than_it_thinks() -> None:
    loop, said = SimulatedLoop(Random(0)), []

    async def worker() -> None:
        while True:
            await asyncio.sleep(1)
            said.append(loop.time())

    async def main() -> None:
        process = Process(loop, "zombie")
        process.spawn(worker())
        await asyncio.sleep(1.5)
        process.pause()
        await asyncio.sleep(60)
        process.resume()
        await asyncio.sleep(1.25)

    loop.run(main())
    assert said == [1.0, 61.5, 62.5]


def test_a_deadlock_is_said() -> None:
    loop = SimulatedLoop(Random(0))

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck):
        loop.run(main())
