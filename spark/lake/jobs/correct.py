"""The corrector: what late events and far repeats made of sealed windows, made good in what readers are shown."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from dataforge.contracts.model import EventType
from dataforge.corrections import OVERLAY, TOPIC, Correction, encode, key_of
from dataforge.kpi.catalogue import duration_text
from dataforge.kpi.instants import instant
from dataforge.state.redis import RedisState
from dataforge.stream.producer import BatchProducer

from lake.correct import applied, due
from lake.jobs.agree import Agree
from lake.judge import FIRST, Cell

WAIT_S = 60.0
"""For the owner of the overlay to have applied what was sent."""
_LOOK_AGAIN_S = 0.1

Send = Callable[[Sequence[Correction]], Awaitable[int]]
"""Appends to the topic, in order; returns the offset of the last one."""


@dataclass(frozen=True, slots=True)
class Correct:
    """*Guarantees*: what it sends is explained, and of windows that are sealed in every partition at the lake's
    position. Killed anywhere, run twice or beside another, it changes no row twice: of one revision the first counts,
    and what is still shown wrong is for the next run.
    """

    agree: Agree
    send: Send
    say: Callable[[str], None]
    wait_s: float = WAIT_S

    def run(self, event: EventType, partitions: int) -> dict[str, int]:
        """How many were sent, how many of them readers are shown by now, and how many cells nobody could explain.

        *Raises* `Fatal` where a send is not certain, `Transient` where a server is away: run it again.
        """
        name, sent, shown, unexplained = event.contract.name, 0, 0, 0
        for sides, kept, live, look, views, gold in self.agree.compare(event, partitions):
            found = due(name, sides, kept, live, views, gold)
            for cell in found.unexplained[: max(0, FIRST - unexplained)]:
                self.say(f"{name}: not corrected, nobody can explain it: {_named(cell)}")
            unexplained += len(found.unexplained)
            if not found.corrections:
                continue
            read = asyncio.run(self._deliver(found.corrections))
            sent, shown = sent + len(found.corrections), shown + applied(found.corrections, look())
            if not read:
                break  # the other days would wait as long, for the same owner
        self.say(f"{name}: {sent:,} corrections sent, {shown:,} applied")
        if shown < sent:
            self.say(f"{name}: is an aggregator running, and does it know the same metrics? Run it again then")
        return {"sent": sent, "applied": shown, "unexplained": unexplained}

    async def _deliver(self, corrections: Sequence[Correction]) -> bool:
        """Until the owner has read them; False where the time is up before."""
        state, now_s = RedisState(self.agree.redis_url), asyncio.get_running_loop().time
        try:
            last, until_s = await self.send(corrections), now_s() + self.wait_s
            while (await state.head(*OVERLAY)).next <= last:
                if now_s() >= until_s:
                    self.say(f"{TOPIC}: nobody has read up to {last} within {self.wait_s:g} s")
                    return False
                await asyncio.sleep(_LOOK_AGAIN_S)
        finally:
            await state.close()
        return True


def to_kafka(bootstrap: str) -> Send:
    async def send(corrections: Sequence[Correction]) -> int:
        producer = BatchProducer(bootstrap, client_id="dataforge-lake")
        await producer.start()
        try:
            return await producer.send(TOPIC, 0, [(key_of(one), encode(one), []) for one in corrections])
        finally:
            await producer.stop()

    return send


def _named(cell: Cell) -> str:
    labels = ", ".join(cell.labels) or "the total"
    return f"{cell.metric} {duration_text(cell.size_ms)} {instant(cell.start_ms)} {labels}"
