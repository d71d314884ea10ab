"""One chaos run from an empty platform to the report."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka.errors import KafkaError

from devstack.chaos.director import Director
from devstack.chaos.fault import FinalFault, Kind, Stage
from devstack.chaos.recovery import Positions, recoveries
from devstack.chaos.report import Report, assess, with_verdict
from devstack.chaos.schedule import Planned, schedule
from devstack.chaos.stage import staged
from devstack.chaos.verdict import Collected, examine
from devstack.chaos.verify import verify
from devstack.chaos.watch import Watch
from devstack.chaos.witnesses import VIEWS, Witnesses, witnesses
from devstack.clients import NO_ANSWER
from devstack.oracle.api import Api, NoAnswer
from devstack.oracle.live import BrokenPromise, Refused
from devstack.replay.manifest import Manifest
from devstack.replay.plan import Faults, Horizons
from devstack.replay.purchases import ROWS, read_purchases
from devstack.replay.replay import Options as ReplayOptions
from devstack.replay.replay import partition_count, replay
from devstack.replay.send import make_producer

DIRT = Faults(duplicates=0.01, late=0.01, out_of_order=0.01, malformed=0.005)
_SPARE, _SPARE_S = 1.25, 120.0
"""How much longer than planned the events would last: faults may wait for recoveries."""
_LOOK_S, _STOP_S = 0.2, 10.0
_AGAIN_AFTER_S = (1.0, 1.0, 1.0)
"""As `Retry-After` asks: a connection that a fault has broken is noticed when it is used next."""


@dataclass(frozen=True, slots=True)
class Options:
    minutes: float
    faults: int
    seed: int
    kinds: Mapping[str, Kind]
    rate: float = 840.0
    """Events a second; lower where the source data would not last."""
    max_recovery_s: float = 15.0
    stalled_s: float = 120.0
    """How long nothing may move at the end before the run gives up."""


Show = Callable[[Director, Watch], AbstractContextManager[None]]


@dataclass(slots=True)
class Run:
    """*Guarantees*: `happen` leaves no process behind; a report comes back whatever the platform did wrong."""

    options: Options
    domain: Path
    horizons: Horizons
    show: Show
    problems: list[str] = field(default_factory=list)
    manifest: Manifest = field(default_factory=Manifest)

    def planned(self) -> list[Planned]:
        options = self.options
        return schedule(options.kinds, options.faults, options.minutes, options.seed)

    async def happen(self, folder: Path) -> Report:
        """*Raises* `StackError` where the stack does not start."""
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the broker is away on purpose, again and again
        started_s = time.monotonic()
        async with staged(folder, [self.domain], seed=self.options.seed) as stage:
            report = await self._on(stage)
        report.elapsed_s, report.logs = round(time.monotonic() - started_s, 1), str(folder / "logs")
        return report

    async def _on(self, stage: Stage) -> Report:
        async with make_producer(stage.direct.kafka) as producer:
            partitions = await partition_count(producer, stage.raw_topic)
        async with witnesses(stage, partitions) as seen:
            watch = Watch(seen.raw.ends, seen.probes)
            tapes = [asyncio.create_task(tape.run(), name=tape.topic) for tape in seen.tapes]
            try:
                async with watch.watching():
                    director = await self._attack(stage, seen, watch, tapes)
                    report = await self._compared(stage, seen, watch, tapes)
                    report.verify, objections = await verify(stage.stack.paths.data)
                    self.problems += objections
                    await self._end(stage, director)
            finally:
                for tape in tapes:
                    tape.cancel()
                await asyncio.gather(*tapes, return_exceptions=True)
        report.problems += [*self.problems, *director.problems]
        report.faults = director.counts
        histories = {"log": watch.appended, **watch.histories}
        report.recovery_s = director.hits(recoveries(director.struck(), histories), self._final)
        return assess(report, wanted=self.options.faults, max_recovery_s=self.options.max_recovery_s)

    async def _attack(
        self, stage: Stage, seen: Witnesses, watch: Watch, tapes: Sequence[asyncio.Task[None]]
    ) -> Director:
        """Replay at a steady rate until the time is over and every fault has happened, or a tape broke."""
        length_s = self.options.minutes * 60 * _SPARE + _SPARE_S
        rate = min(self.options.rate, ROWS / length_s)
        purchases = read_purchases(round(rate * length_s))
        director = Director(stage, watch, patience_s=2 * self.options.max_recovery_s)
        over_s = director.begin_s + self.options.minutes * 60
        attacked = asyncio.Event()

        async with make_producer(stage.direct.kafka) as producer:
            replaying = asyncio.create_task(
                replay(
                    producer,
                    purchases,
                    ReplayOptions(rate=rate, faults=DIRT, seed=self.options.seed),
                    self.horizons,
                    topic=stage.raw_topic,
                    manifest=self.manifest,
                    enough=lambda: attacked.is_set() and time.monotonic() > over_s,
                )
            )
            cutting = asyncio.create_task(seen.keep_cutting(self.options.seed))
            attacking = asyncio.create_task(self._strike(director))
            try:
                with self.show(director, watch):
                    await asyncio.wait({attacking, replaying, *tapes}, return_when=asyncio.FIRST_COMPLETED)
                    if not attacking.done():
                        attacking.cancel()
                        self.problems.append("the replay or a tape ended before the last fault")
                    [ended] = await asyncio.gather(attacking, return_exceptions=True)
                    if isinstance(ended, Exception):
                        self.problems.append(f"the faults ended before the last one: {ended!r}")
                    attacked.set()
                    if not any(tape.done() for tape in tapes):
                        await replaying
            except KafkaError as error:  # an idempotent producer tries for ever, unless the broker has lost something
                self.problems.append(f"the replay failed, the broker does not know what it acknowledged: {error!r}")
            finally:
                for task in (attacking, cutting, replaying):
                    task.cancel()
                await asyncio.gather(attacking, cutting, replaying, return_exceptions=True)
        return director

    async def _strike(self, director: Director) -> None:
        await director.run([p for p in self.planned() if p.kind not in self._final])
        await director.recovered()

    async def _log_end(self, seen: Witnesses) -> Positions:
        """Where the raw log ends, asked until the broker answers."""
        while True:
            with suppress(*NO_ANSWER):
                return await seen.raw.ends()
            await asyncio.sleep(_LOOK_S)

    async def _settle(self, seen: Witnesses, watch: Watch, tapes: Sequence[asyncio.Task[None]]) -> bool:
        """Wait until every stage has everything. Where one stands still, that is a problem, and False."""
        if self._broken(tapes):
            return False
        ends, begin_s = await self._log_end(seen), time.monotonic()
        least, moved_s = float("inf"), begin_s
        while late := watch.behind(ends, begin_s):
            left = sum(watch.lag().values())
            if left < least:
                least, moved_s = left, time.monotonic()
            if self._broken(tapes):
                return False
            if time.monotonic() - moved_s > self.options.stalled_s:
                behind = watch.lag()
                said = ", ".join(f"{stage} by {behind[stage]} records" for stage in late)
                self.problems.append(f"nothing moves any more, and behind are: {said}")
                return False
            await asyncio.sleep(_LOOK_S)
        if self._broken(tapes) or not await self._landed(seen):
            return False
        for view in seen.views:
            try:
                await view.until(lambda view=view: view.covers(ends), "the live client has everything")
            except (BrokenPromise, Refused, TimeoutError) as error:
                self.problems.append(f"a live client: {error}")
        return True

    async def _landed(self, seen: Witnesses) -> bool:
        deadline_s = time.monotonic() + self.options.stalled_s
        while time.monotonic() < deadline_s:
            with suppress(*NO_ANSWER):
                if await seen.all_judged_is_landed():
                    return True
            await asyncio.sleep(_LOOK_S)
        self.problems.append(f"the end of the judged log is not landed within {self.options.stalled_s:.0f} s")
        return False

    def _broken(self, tapes: Sequence[asyncio.Task[None]]) -> bool:
        """What a tape has not seen would look as if a stage had invented it."""
        broken = [tape for tape in tapes if tape.done()]
        self.problems += [f"the tape of {tape.get_name()} broke: {tape.exception()}" for tape in broken]
        return bool(broken)

    async def _compared(
        self, stage: Stage, seen: Witnesses, watch: Watch, tapes: Sequence[asyncio.Task[None]]
    ) -> Report:
        """The report but for what is told of the faults."""
        settled = await self._settle(seen, watch, tapes)
        report = Report(
            seed=self.options.seed,
            faults={},
            recovery_s=[],
            recovery_max_s=None,
            minutes=self.options.minutes,
            events=sum(seen.raw.next.values()),
            ws=seen.ws(),
            restarts=sum(program.restarts for program in stage.stack.state().programs),
        )
        reach = stage.direct
        try:
            if settled:
                with Api(reach.api_url, reach.api_token, again_after_s=_AGAIN_AFTER_S) as api:
                    return with_verdict(report, await examine(await self._collect(seen), api))
        except NoAnswer as error:
            self.problems.append(str(error))
        report.problems.append("nothing was compared")
        return report

    async def _collect(self, seen: Witnesses) -> Collected:
        [raw], [judged_log, judged], [quarantine] = (tape.tables() for tape in seen.tapes)
        return Collected(
            sent=self.manifest.table(),
            raw=raw,
            judged_log=judged_log,
            judged=judged,
            quarantine=quarantine,
            landed_raw=await seen.landing_raw.read(),
            landed_judged=await seen.landing_judged.read(),
            ledger=await seen.state.ledger(),
            screens=[(view, list(live.rows.values())) for view, live in zip(VIEWS, seen.views, strict=True)],
        )

    async def _end(self, stage: Stage, director: Director) -> None:
        """The faults after which nothing can be compared any more, under a replay of new events."""
        for planned in (p for p in self.planned() if p.kind in self._final):
            more = ReplayOptions(rate=self.options.rate, seed=self.options.seed, pass_=2)
            producer = make_producer(stage.direct.kafka)
            await producer.start()
            sending = asyncio.create_task(
                replay(producer, read_purchases(), more, self.horizons, topic=stage.raw_topic)
            )
            try:
                await director.run([planned])
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
                with suppress(TimeoutError):  # what it still holds is for a log that is gone
                    await asyncio.wait_for(producer.stop(), _STOP_S)
            if isinstance(planned.fault, FinalFault):
                self.problems += await planned.fault.check(stage)

    @property
    def _final(self) -> set[str]:
        return {kind.name for kind in self.options.kinds.values() if kind.final}
