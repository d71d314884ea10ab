"""Everybody who looks on from outside during a run: tapes of the topics, probes of the stages, live clients."""

import asyncio
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from devstack.chaos.fault import Stage
from devstack.chaos.recovery import Positions, passed
from devstack.chaos.watch import Probe
from devstack.model import Endpoints
from devstack.oracle.api import Api, NoAnswer
from devstack.oracle.landed import Bucket, Landing
from devstack.oracle.live import LiveView
from devstack.oracle.log import JUDGED, QUARANTINED, RAW, Accepted, Copies, raw_columns
from devstack.oracle.screens import View
from devstack.oracle.state import State
from devstack.oracle.tape import Tape

VIEWS = (View("revenue", "store", "10s", 60), View("units", "department", "1m", 30))
_ASK_S = 4.0
_CUT_EVERY_S = (1.0, 5.0)
_REST_S = 1.0
"""Between questions to the object store: each costs it, and whoever asks, as much as an upload."""


@dataclass(frozen=True, slots=True)
class Witnesses:
    raw: Tape
    judged: Tape
    """Every record of the log, and the accepted ones."""
    accepted: Accepted
    quarantine: Tape
    landing_raw: Landing
    landing_judged: Landing
    state: State
    api: Api
    views: Sequence[LiveView]
    probes: Mapping[str, Probe]
    """Stage -> how far it is, in raw offsets."""

    @property
    def tapes(self) -> tuple[Tape, ...]:
        return (self.raw, self.judged, self.quarantine)

    async def all_judged_is_landed(self) -> bool:
        """To the very end of the judged log, on its tape too: also what comes late and is accepted by nobody."""
        ends = await self.judged.ends()
        return self.judged.holds(ends) and passed(await self.landing_judged.next(), ends)

    def ws(self) -> dict[str, object]:
        """What happened to the live clients."""
        return {
            "cuts": sum(view.cuts for view in self.views),
            "connects": sum(view.connects for view in self.views),
            "resumes": sum(view.resumes for view in self.views),
            "resyncs": dict(sum((view.resyncs for view in self.views), start=Counter())),
            "frames": sum(view.snapshots + view.deltas for view in self.views),
        }

    async def keep_cutting(self, seed: int) -> None:
        """Abort the live clients' connections again and again, until cancelled."""
        chosen = random.Random(seed)
        while True:
            await asyncio.sleep(chosen.uniform(*_CUT_EVERY_S))
            chosen.choice(self.views).cut()


@asynccontextmanager
async def witnesses(stage: Stage, partitions: int) -> AsyncIterator[Witnesses]:
    """All of them past the proxies, and none by code that the services use."""
    reach, event = stage.direct, stage.raw_topic.removeprefix("raw.")
    accepted, copies = Accepted(), Copies()
    landing_raw, landing_judged = (Landing(Bucket.of(reach), topic) for topic in (stage.raw_topic, stage.judged_topic))
    raw = Tape(reach.kafka, stage.raw_topic, (RAW, raw_columns))
    judged = Tape(reach.kafka, stage.judged_topic, (RAW, raw_columns), (JUDGED, accepted))
    quarantine = Tape(reach.kafka, f"quarantine.{event}", (QUARANTINED, copies))
    stage.read.update({tape.topic: tape.next for tape in (raw, judged)})
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(State(reach.redis_url, event, partitions))
        raw_ends = await stack.enter_async_context(landing_raw.following())
        judged_ends = await stack.enter_async_context(landing_judged.following("accepted_next"))
        api = stack.enter_context(Api(reach.api_url, reach.api_token, _ASK_S))
        views = [await stack.enter_async_context(_live(reach, view)) for view in VIEWS]
        yield Witnesses(
            raw=raw,
            judged=judged,
            accepted=accepted,
            quarantine=quarantine,
            landing_raw=landing_raw,
            landing_judged=landing_judged,
            state=state,
            api=api,
            views=views,
            probes={
                "landing_raw": lambda: _rested(raw_ends, partitions),
                "landing_judged": lambda: _rested(judged_ends, partitions),
                "judge": lambda: _now(dict(accepted.next)),
                "aggregator": state.next,
                "quarantine": lambda: _now(copied(accepted, copies.newest)),
                "api": lambda: asyncio.to_thread(api.raw_next),
                "ws": lambda: _now(_on_screen(views)),
            },
        )


def copied(accepted: Accepted, newest: Mapping[int, int]) -> dict[int, int]:
    """Per partition the raw offset before which every rejected record is in quarantine. Pure.

    `newest`: the largest raw offset that has a copy; they are copied in order.
    """
    found: dict[int, int] = {}
    for partition, following in accepted.next.items():
        rejected = accepted.rejected.get(partition, [])
        at = bisect_right(rejected, newest.get(partition, -1))
        found[partition] = rejected[at] if at < len(rejected) else following
    return found


def _on_screen(views: Sequence[LiveView]) -> Positions:
    """What every live client has. *Raises* `NoAnswer` while one is cut off."""
    if not all(view.current for view in views):
        raise NoAnswer("a live client is not connected")
    partitions = set.intersection(*(set(view.screen.next) for view in views))
    return {p: min(view.screen.next[p] for view in views) for p in partitions}


async def _rested(ends: Callable[[int], Awaitable[Positions]], partitions: int) -> Positions:
    await asyncio.sleep(_REST_S)
    return await ends(partitions)


async def _now(positions: Positions) -> Positions:
    return positions


def _live(reach: Endpoints, view: View) -> LiveView:
    question = {"metric": view.metric, "window": view.window, "by": [view.by], "limit": view.limit}
    return LiveView(reach.ws_url, reach.api_token, domain="retail", **question)
