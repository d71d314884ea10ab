"""How far each stage is, looked at from outside, several times a second, for as long as the run takes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from devstack.chaos.recovery import Positions, Seen, behind, moved_on, passed
from devstack.clients import NO_ANSWER

Probe = Callable[[], Awaitable[Positions]]
EVERY_S = 0.25
_PATIENCE_S = 6.0


@dataclass(slots=True)
class Watch:
    """What was seen of each stage. *Guarantees*: a stage that does not answer is not seen, and holds up no other."""

    log: Probe
    """Where the raw log ends: the stage before all others."""
    stages: Mapping[str, Probe]
    ends: Positions = field(default_factory=dict)
    """The newest known log end."""
    appended: list[Seen] = field(default_factory=list)
    """Where the log ended at least, when asked; what is seen of a stage is true when it has answered."""
    histories: dict[str, list[Seen]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.histories = {stage: [] for stage in self.stages}

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._follow(probe, self.histories[name])) for name, probe in self.stages.items()]
        tasks.append(asyncio.create_task(self._follow(self.log, self.appended)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def positions(self) -> dict[str, Positions]:
        """Stage -> its newest positions."""
        return {stage: seen[-1].positions if seen else {} for stage, seen in self.histories.items()}

    def lag(self) -> dict[str, int]:
        """Stage -> records behind the log."""
        return {stage: behind(positions, self.ends) for stage, positions in self.positions().items()}

    def behind(self, ends: Positions, since_s: float) -> list[str]:
        """The stages that were not seen past `ends` since then."""
        return self._without(lambda positions: passed(positions, ends), since_s)

    def standing(self, ends: Positions, since_s: float) -> list[str]:
        """The stages, and the log itself, that were not seen to have moved on past `ends` since then."""
        return self._without(lambda positions: moved_on(positions, ends), since_s, log=self.appended)

    def _without(self, done: Callable[[Positions], bool], since_s: float, **more: Sequence[Seen]) -> list[str]:
        histories = {**self.histories, **more}
        return [
            stage
            for stage, seen in histories.items()
            if not (seen and seen[-1].at_s >= since_s and done(seen[-1].positions))
        ]

    def end_since(self, since_s: float) -> Positions | None:
        """A log end that was asked for since then; None while there is none."""
        return self.ends if self.appended and self.appended[-1].at_s >= since_s else None

    def grown(self, within_s: float) -> int:
        """Records appended to the raw log in the last seconds."""
        recent = [seen for seen in self.appended if seen.at_s >= time.monotonic() - within_s]
        return behind(recent[0].positions, recent[-1].positions) if recent else 0

    async def _follow(self, probe: Probe, history: list[Seen]) -> None:
        while True:
            with contextlib.suppress(*NO_ANSWER):
                asked_s = time.monotonic()
                async with asyncio.timeout(_PATIENCE_S):
                    positions = dict(await probe())
                if history is self.appended:
                    history.append(Seen(asked_s, positions))
                    self.ends = {p: max(end, self.ends.get(p, 0)) for p, end in positions.items()}
                else:
                    history.append(Seen(time.monotonic(), positions))
            await asyncio.sleep(EVERY_S)
