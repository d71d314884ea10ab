"""What one run is made of: sizes, speeds and limits, drawn; and the services' own wiring over it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import NamedTuple

import pyarrow as pa

from dataforge.contracts.load import load_domain
from dataforge.contracts.model import Contract, Domain
from dataforge.stream.work import Source

from aggregator.app import aggregate
from aggregator.partition import Pace
from landing_worker.app import land
from landing_worker.land import Limits
from quality_worker.app import judge_and_quarantine
from simulation.servers import RemoteLog, RemoteState, RemoteStore

FOLDERS = Path(__file__).parent / "domains"
# Objects are small: more threads would only wait for each other.
pa.set_cpu_count(1)

GROUPS = ("land", "quality", "aggregate")


@cache
def domain(name: str) -> Domain:
    return load_domain(FOLDERS / name)


class Servers(NamedTuple):
    log: RemoteLog
    store: RemoteStore
    state: RemoteState


@dataclass(frozen=True)
class Setup:
    kind: str = "exact"
    partitions: int = 2
    workers: int = 2
    """Processes of each group, to begin with."""
    scale: float = 5.0
    """How much faster the log's time goes than the simulation's."""
    object_rows: int = 6
    object_age_s: float = 0.5
    commit_s: float = 0.1
    idle_after_s: float = 3.0
    feed_cap: int = 30

    @classmethod
    def drawn(cls, random: Random) -> "Setup":
        return cls(
            kind="sketched" if random.random() < 0.08 else "exact",
            partitions=random.choice((1, 1, 2)),
            workers=random.choice((1, 2)),
            scale=random.choice((1.0, 5.0, 20.0)),
            object_rows=random.choice((3, 20, 60)),
            object_age_s=random.choice((0.2, 1.0, 2.0)),
            commit_s=random.choice((0.0, 0.0, 0.3)),
            feed_cap=random.choice((2, 30)),
        )

    @property
    def domain(self) -> Domain:
        return replace(domain(self.kind), partitions=self.partitions)

    @property
    def contract(self) -> Contract:
        return self.domain.events[0].contract

    def sources(
        self,
        group: str,
        deployed: str,
        servers: Servers,
        clock: Callable[[], float],
        now_ms: Callable[[], int],
    ) -> list[Source]:
        """What a process of the group does, exactly as its service wires it. `deployed`: the judge's contract."""
        log, store, state = servers
        match group:
            case "land":
                limits = Limits(self.object_age_s, self.object_rows, 1 << 20)
                return [land(self.domain.events, store, log, clock, limits)]
            case "quality":
                return judge_and_quarantine(domain(deployed).events, log, log, store)
            case _:
                pace = Pace(self.commit_s, idle_after_s=self.idle_after_s)
                return [aggregate([self.domain], state, log, store, clock, pace, now_ms)]
