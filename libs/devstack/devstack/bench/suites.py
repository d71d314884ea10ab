"""The suites: what is measured, beside whom, and what it shall come to."""

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any, Protocol

from devstack.bench.api import api
from devstack.bench.contest import SuiteReport
from devstack.bench.e2e import P99_IN_THE_MIDDLE, RATES, e2e
from devstack.bench.lake import FLAT, PLAIN, lake
from devstack.bench.query import GOALS, query
from devstack.bench.scale import VARIANTS, scale
from devstack.bench.start import SECONDS, start
from devstack.bench.stream import stream
from devstack.bench.turns import Say
from devstack.bench.workers import landing, quality
from devstack.bench.ws import IDLE, KIB_OF_IDLE, PUSHING, STALLED, ws


class Run(Protocol):
    def __call__(
        self, *, events: int, rounds: int, seed: int, names: Sequence[str], say: Say
    ) -> Coroutine[Any, Any, SuiteReport]: ...


@dataclass(frozen=True)
class Suite:
    run: Run
    beside: Sequence[str]
    goals: Mapping[str, float] = field(default_factory=dict[str, float])
    """Contestant -> how many times as fast as it we want to be at least, in events per CPU second; or the least of a
    figure."""
    limits: Mapping[str, float] = field(default_factory=dict[str, float])
    """Contestant -> how many times as fast as it we may be at most: it is ours too, with more to do; or the most of a
    figure."""
    events: int = 2_000_000
    """Of one turn."""
    least: int = 10_000
    most: int = 100_000_000
    """How few and how many there may be."""

    def met(self, name: str, found: float) -> bool:
        """Of a ratio, or of a figure."""
        return self.goals.get(name, 0.0) <= found <= self.limits.get(name, inf)

    def goal(self, name: str) -> str:
        least = [f"≥ {self.goals[name]:g}"] if name in self.goals else []
        return " ".join([*least, *([f"≤ {self.limits[name]:g}"] if name in self.limits else [])])


PICOWS = {"picows": 0.8}
STREAM = {"bare_aiokafka": 0.8, "stock_faust": 15.0, "quix_streams": 8.0, "bytewax": 2.5, "kafka_streams": 4.0}
SUITES = {
    "stream": Suite(stream, [*STREAM], STREAM),
    "quality": Suite(quality, ["bare_copy"], {"bare_copy": 0.6}),
    "landing": Suite(landing, ["raw_put"], {"raw_put": 0.7}),
    "api": Suite(api, ["constant", "unshared"], {"constant": 0.5}, events=5_000, least=100, most=80_000),
    "ws": Suite(
        partial(ws, clients=1_000, stalls=True), [*PUSHING], PICOWS, {STALLED: 1.2}, events=200, least=10, most=5_000
    ),
    "ws_10k": Suite(
        partial(ws, clients=10_000, stalls=False),
        [*PUSHING],
        PICOWS | {IDLE: 15_000},
        {KIB_OF_IDLE: 25},
        events=30,
        least=5,
        most=5_000,
    ),
    "e2e": Suite(
        e2e,
        ["bare", "hasty"],
        limits={f"bare at {rate}": 2.0 for rate in RATES} | {P99_IN_THE_MIDDLE: 250},
        events=50_000,
    ),
    "scale": Suite(scale, [*VARIANTS], limits={"10_thousand_keys": 1.3}),
    "lake": Suite(lake, [PLAIN], {PLAIN: 0.5}, {FLAT: 1.2}, events=1_400_000, least=100_000, most=20_000_000),
    "query": Suite(query, [], limits=GOALS, events=1_000_000, most=1_400_000),
    "start": Suite(start, [], limits=SECONDS),
}
