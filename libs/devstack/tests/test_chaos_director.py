"""Who strikes when: only while work is in flight, beside or after one another, and always healed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from devstack.chaos import director as directing
from devstack.chaos.director import Director
from devstack.chaos.fault import Evidence, NotInForce, Stage
from devstack.chaos.schedule import Planned
from devstack.chaos.watch import Watch

STAGE = cast("Stage", None)
"""The faults here touch nothing."""


class Note:
    """Writes down when it was in force."""

    def __init__(self, name: str, said: list[str], refusals: int = 0, *, stuck: bool = False) -> None:
        self.kind, self.victim = "note", name
        self.evidence: Evidence = {}
        self._said, self._refusals, self._stuck = said, refusals, stuck

    async def inject(self, stage: Stage) -> None:
        if self._refusals:
            self._refusals -= 1
            raise NotInForce("not there")
        self._said.append(f"{self.victim} begins")

    async def heal(self, stage: Stage) -> None:
        self._said.append(f"{self.victim} ends")
        if self._stuck:
            raise NotInForce("it stays")


class Log:
    """A log that grows while `flowing`, and a stage that follows it one look behind."""

    def __init__(self, *, flowing: bool) -> None:
        self.flowing, self.end, self.looks = flowing, 0, 0
        self.stalled = False

    async def ends(self) -> dict[int, int]:
        self.end += 10 * self.flowing
        return {0: self.end}

    async def judge(self) -> dict[int, int]:
        self.looks += 1
        return {0: 0 if self.stalled else max(0, self.end - 5 * (self.looks % 2))}


def planned(number: int, fault: Note, duration_s: float = 0.0, after_s: float | None = None) -> Planned:
    return Planned(number, fault.kind, fault, 0.0, duration_s, after_s)


@asynccontextmanager
async def directed(log: Log, patience_s: float = 60.0) -> AsyncIterator[Director]:
    watch = Watch(log.ends, {"judge": log.judge})
    async with watch.watching():
        yield Director(STAGE, watch, patience_s)


async def run(log: Log, schedule: Sequence[Planned], patience_s: float = 60.0) -> Director:
    async with directed(log, patience_s) as director, asyncio.timeout(60):
        await director.run(schedule)
    return director


async def test_each_waits_for_the_recovery_from_the_one_before() -> None:
    said: list[str] = []
    director = await run(Log(flowing=True), [planned(1, Note("a", said), 0.2), planned(2, Note("b", said))])
    assert said == ["a begins", "a ends", "b begins", "b ends"]
    first, second = director.happened
    assert first.healed_s is not None
    assert second.injected_s > first.healed_s
    assert first.ends is not None
    assert second.in_flight["log_end"][0] > first.ends[0]
    assert director.counts == {"note": 2}
    assert director.failed == []


async def test_one_may_begin_beside_another_but_not_on_the_same_victim() -> None:
    said: list[str] = []
    schedule = [
        planned(1, Note("a", said), 1.0),
        planned(2, Note("b", said), 0.1, 0.1),
        planned(3, Note("a", said), 0, 0.1),
    ]
    await run(Log(flowing=True), schedule)
    assert said[:3] == ["a begins", "b begins", "b ends"]
    assert said[3:] == ["a ends", "a begins", "a ends"]


async def test_nothing_is_struck_while_nothing_is_in_flight() -> None:
    said: list[str] = []
    log = Log(flowing=False)
    async with directed(log) as director, asyncio.timeout(60):
        running = asyncio.create_task(director.run([planned(1, Note("a", said))]))
        await asyncio.sleep(0.6)
        assert said == []
        log.flowing = True
        await running
    assert said == ["a begins", "a ends"]


async def test_what_cannot_happen_is_tried_again_and_in_the_end_told(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    director = await run(Log(flowing=True), [planned(1, Note("a", said, refusals=2))])
    assert said == ["a ends", "a ends", "a begins", "a ends"]
    assert director.failed == []
    monkeypatch.setattr(directing, "_IDLE_S", 0.5)
    director = await run(Log(flowing=True), [planned(1, Note("b", said, refusals=1000))])
    assert director.happened == []
    assert director.failed == ["fault 1 (note of b) did not happen: not there"]


async def test_a_stage_that_does_not_come_back_is_waited_for_no_longer_than_patience() -> None:
    said: list[str] = []
    log = Log(flowing=True)
    log.stalled = True
    told: list[str] = []
    async with directed(log, patience_s=0.3) as director, asyncio.timeout(60):
        director.tell = told.append
        await director.run([planned(1, Note("a", said)), planned(2, Note("b", said))])
    assert len(director.happened) == 2
    [failed] = director.failed
    assert failed.startswith("when fault 2 (note of b) was due, not back after 0.3 s: judge")
    assert [line.split(" s: ", 1)[1] for line in told] == ["fault 1 (note of a)", failed, "fault 2 (note of b)"]


async def test_a_cause_that_stays_is_told_and_the_next_fault_comes() -> None:
    said: list[str] = []
    director = await run(Log(flowing=True), [planned(1, Note("a", said, stuck=True)), planned(2, Note("b", said))])
    assert len(director.happened) == 2
    assert director.problems == ["fault 1 (note of a) could not be healed: it stays"]


async def test_what_is_in_force_is_healed_also_when_the_run_is_cancelled() -> None:
    said: list[str] = []
    async with directed(Log(flowing=True)) as director:
        running = asyncio.create_task(director.run([planned(1, Note("a", said), 100.0)]))
        async with asyncio.timeout(60):
            while not director.happened:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert said == ["a begins", "a ends"]
    assert director.in_force == []


def test_reported_are_what_happened_and_its_seconds() -> None:
    watch: Any = Watch(Log(flowing=True).ends, {})
    director = Director(STAGE, watch, 1.0, begin_s=100.0)
    fault = Note("a", [])
    director.happened.append(directing.Happened(planned(1, fault, 0, 0.5), {"grown_by": 3}, 105.0, 107.5, {0: 10}))
    [hit] = director.hits({1: {"judge": 2.0}})
    assert (hit.at_s, hit.in_force_s, hit.overlaps, hit.stages) == (5.0, 2.5, True, {"judge": 2.0})
    [hit] = director.hits({1: {"judge": 2.0}}, {"note"})
    assert hit.stages == {}
    assert (director.counts, director.idle) == ({"note": 1}, [])


def test_a_fault_without_effect_has_not_happened() -> None:
    watch: Any = Watch(Log(flowing=True).ends, {})
    director = Director(STAGE, watch, 1.0, begin_s=100.0)
    for number, effects in enumerate((0, 3), 1):
        fault = Note("a", [])
        fault.evidence["effects"] = effects
        director.happened.append(directing.Happened(planned(number, fault), {"grown_by": 3}, 105.0, 107.5, {0: 10}))
    assert director.counts == {"note": 1}
    assert director.idle == ["fault 1 (note of a) had no effect"]
