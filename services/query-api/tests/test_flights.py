"""Who shares a piece of work, and who ends it."""

import asyncio

import pytest

from query_api.query.flights import Flights


class Work:
    def __init__(self) -> None:
        self.begun = self.cancelled = 0
        self.may = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        try:
            await self.may.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.begun


async def started(flights: Flights[int], work: Work, *keys: str) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(flights.share(key, work)) for key in keys]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_who_asks_while_it_runs_shares_it():
    flights, work = Flights[int](), Work()
    tasks = await started(flights, work, "a", "a", "a")
    work.may.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1]
    assert await flights.share("a", work) == 2, "who comes later begins anew"


async def test_another_key_is_another_piece_of_work():
    flights, work = Flights[int](), Work()
    tasks = await started(flights, work, "a", "b")
    work.may.set()
    await asyncio.gather(*tasks)
    assert work.begun == 2


async def test_it_goes_on_while_one_waits_and_ends_with_the_last():
    flights, work = Flights[int](), Work()
    first, second = await started(flights, work, "a", "a")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert work.cancelled == 0
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await asyncio.sleep(0)
    assert (work.begun, work.cancelled) == (1, 1)
    work.may.set()
    assert await flights.share("a", work) == 2


async def test_an_error_is_everybodys():
    async def failing() -> int:
        await asyncio.sleep(0)
        raise ValueError("no")

    flights = Flights[int]()
    found = await asyncio.gather(*(flights.share("a", failing) for _ in "123"), return_exceptions=True)
    assert [str(each) for each in found] == ["no"] * 3
    with pytest.raises(ValueError, match="no"):
        await flights.share("a", failing)
