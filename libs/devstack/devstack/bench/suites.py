"""The suites: what is measured, beside whom, and what it shall come to."""

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol

from devstack.bench.api import api
from devstack.bench.contest import SuiteReport
from devstack.bench.scale import VARIANTS, scale
from devstack.bench.stream import stream
from devstack.bench.turns import Say
from devstack.bench.workers import landing, quality


class Run(Protocol):
    def __call__(
        self, *, events: int, rounds: int, seed: int, names: Sequence[str], say: Say
    ) -> Coroutine[Any, Any, SuiteReport]: ...


@dataclass(frozen=True)
class Suite:
    run: Run
    beside: Sequence[str]
    goals: Mapping[str, float] = field(default_factory=dict[str, float])
    """Contestant -> how many times as fast as it we want to be at least, in events per CPU second."""
    limits: Mapping[str, float] = field(default_factory=dict[str, float])
    """Contestant -> how many times as fast as it we may be at most: it is ours too, with more to do."""
    events: int = 2_000_000
    """Of one turn."""

    def met(self, name: str, ratio: float) -> bool:
        return self.goals.get(name, 0.0) <= ratio <= self.limits.get(name, inf)


STREAM = {"bare_aiokafka": 0.8, "stock_faust": 15.0, "quix_streams": 8.0, "bytewax": 2.5, "kafka_streams": 4.0}
SUITES = {
    "stream": Suite(stream, [*STREAM], STREAM),
    "quality": Suite(quality, ["bare_copy"], {"bare_copy": 0.6}),
    "landing": Suite(landing, ["raw_put"], {"raw_put": 0.7}),
    "api": Suite(api, ["constant"], {"constant": 0.5}, events=5_000),
    "scale": Suite(scale, [*VARIANTS], limits={"10_thousand_keys": 1.3}),
}
