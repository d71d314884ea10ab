"""The stream's program: what it does in which order, when it waits, and how it ends. Over jobs that only count."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from dataforge.contracts.model import Domain, EventType
from dataforge.errors import Fatal, Transient
from dataforge.stream.origin import NO_ID, Bounds

from lake import streaming
from lake.jobs.silver import Step
from lake.jobs.stream import Progress, overtaken, portion
from lake.position import Place
from lake.streaming import REST, Follower, Jobs, Streaming


@dataclass
class Counting:
    """Jobs over a log of so many records, of which a round takes one."""

    records: int
    done: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda what: None
    taken: int = 0

    def bronze(self, event: EventType, partitions: int) -> Progress:
        self._note("bronze")
        before, self.taken = self.taken, min(self.records, self.taken + 1)
        return Progress({0: before}, {0: self.taken}, {0: self.records})

    def silver(self, event: EventType) -> Step:
        self._note("silver")
        return Step(1, 0)

    def gold(self, event: EventType) -> Step:
        self._note("gold")
        return Step(1, 0)

    def _note(self, what: str) -> None:
        self.before(what)
        self.done.append(what)


def run(domain: Domain, jobs: Counting, rounds: int, gold_every_s: float | None = None) -> Streaming:
    """As many rounds, and then it is told to stop. Its clock stands still: what follows never rests."""
    event, stop = domain.events[0], asyncio.Event()

    def bronze(event: EventType, partitions: int) -> Progress:
        progress = jobs.bronze(event, partitions)
        if jobs.done.count("bronze") == rounds:
            loop.call_soon_threadsafe(stop.set)
        return progress

    made = Streaming(Jobs(bronze, jobs.silver, jobs.gold), [(event, 1)], 0.001, gold_every_s, clock=lambda: 0.0)

    async def main() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        await made.run(stop)

    loop: asyncio.AbstractEventLoop
    asyncio.run(main())
    return made


def test_silver_follows_bronze_and_gold_silver_only_where_there_is_something_new(small_domain: Domain):
    jobs = Counting(2)
    run(small_domain, jobs, 4)
    assert jobs.done == ["bronze", "silver", "bronze", "silver", "bronze", "bronze"]
    jobs = Counting(1)
    run(small_domain, jobs, 3, gold_every_s=0.0)
    assert jobs.done == ["bronze", "silver", "gold", "bronze", "bronze"]


def test_silver_follows_also_what_another_job_took_into_bronze(small_domain: Domain):
    class Overtaken(Counting):
        def bronze(self, event: EventType, partitions: int) -> Progress:
            self._note("bronze")
            at = 5 if self.done.count("bronze") > 2 else 0
            return Progress({0: at}, {0: at}, {0: at})

    jobs = Overtaken(0)
    run(small_domain, jobs, 4)
    assert jobs.done == ["bronze", "silver", "bronze", "bronze", "silver", "bronze"]


def test_a_stop_comes_between_two_commits(small_domain: Domain):
    jobs = Counting(9)
    run(small_domain, jobs, 1, gold_every_s=0.0)
    assert jobs.done == ["bronze"]


def test_what_is_away_is_tried_again_and_shown_until_it_is_there(small_domain: Domain):
    left = ["Kafka is away", "Kafka is still away"]
    shown: list[object] = []

    def failing(what: str) -> None:
        if left and what == "bronze":
            raise Transient(left.pop(0))

    jobs = Counting(1, before=failing)
    made = run(small_domain, jobs, 1)
    shown += [check() for check in made.checks.values()]
    assert jobs.done == ["bronze"]
    assert shown == [None]
    assert left == []


def test_what_stays_away_ends_the_program(small_domain: Domain, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streaming, "AWAY_S", 0.0)

    def failing(what: str) -> None:
        raise Transient("the store is away")

    with pytest.raises(Transient, match="the store is away"):
        run(small_domain, Counting(1, before=failing), 1)


def test_what_nobody_can_mend_by_waiting_ends_it_at_once(small_domain: Domain):
    def failing(what: str) -> None:
        raise Fatal("the topic was recreated")

    with pytest.raises(Fatal, match="recreated"):
        run(small_domain, Counting(1, before=failing), 1)


def test_who_follows_rests_longer_the_longer_its_work_takes():
    silver = Follower(every_s=1.0)
    assert silver.due(0.0)
    silver.done(began_s=0.0, now_s=10.0, left=0)
    silver.behind = True
    assert not silver.due(10.0 + REST * 10.0 - 0.1)
    assert silver.due(10.0 + REST * 10.0)
    silver.done(began_s=60.0, now_s=60.1, left=0)
    silver.behind = True
    assert not silver.due(61.0)
    assert silver.due(61.1)
    silver.done(began_s=70.0, now_s=80.0, left=5)
    assert silver.due(80.0), "there is more, and it rests"


def test_a_portion_is_shared_by_the_partitions_that_have_something_new():
    places = {0: Place(10), 1: Place(50), 2: Place(0)}
    bounds = {p: Bounds(NO_ID, begin, end) for p, (begin, end) in enumerate([(0, 1_000), (0, 50), (0, 7)])}
    assert portion(places, bounds, 100) == {0: 60, 2: 7}
    assert portion(places, bounds, 1) == {0: 11, 2: 1}, "it stands still"
    assert overtaken(places, bounds) == []
    assert overtaken(places, {**bounds, 1: Bounds(NO_ID, 51, 60)}) == [1]
