"""Everything there is in one run: servers, groups of workers, a gateway, and what can be done to them."""

import json
import random as global_random
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

from dataforge.kpi.plan import plan
from dataforge.state.memory import MemoryState
from dataforge.storage.memory import MemoryStore
from dataforge.stream.records import TopicPartition
from dataforge.stream.work import Source
from dataforge.testing.log import MemoryLog

from simulation import model
from simulation.group import Group
from simulation.loop import Process, SimulatedLoop
from simulation.network import Network
from simulation.servers import RemoteLog, RemoteState, RemoteStore
from simulation.setup import GROUPS, Servers, Setup
from simulation.watcher import Gateway, clients_of
from simulation.worker import Worker

START_MS = 1_700_000_040_000
RESTART_S = 3.0


@dataclass
class Tally:
    """What a run did."""

    faults: Counter[str] = field(default_factory=Counter)
    deaths: Counter[str] = field(default_factory=Counter)
    """Processes that left by themselves, by the error that made them."""
    produced: int = 0
    reads: int = 0


class World:
    def __init__(self, seed: int, setup: Setup) -> None:
        self.setup = setup
        self.random = Random(seed)
        global_random.seed(seed)  # back-offs draw their jitter there
        self.behind_ms = 0
        self.loop = SimulatedLoop(Random(seed + 1))
        self.network = Network(self.loop, Random(seed + 2))
        self.memory_log = MemoryLog(self.now_ms)
        self.objects, self.memory = MemoryStore(), MemoryState(feed_cap=setup.feed_cap)
        self.log = RemoteLog(self.memory_log, self.network, Random(seed + 3))
        self.store = RemoteStore(self.objects, self.network)
        self.state = RemoteState(self.memory, self.network)
        self.tally = Tally()
        self.trace: list[str] = []
        self.unforeseen: list[str] = []
        """Exits by errors that nobody raised on purpose."""
        self.network.heard = self.say
        self.deployed = "exact"
        self._sources: dict[tuple[str, str], list[Source]] = {}
        self.workers: list[Worker] = []
        self.wanted: dict[str, int] = dict.fromkeys(GROUPS, setup.workers)
        self._starting: Counter[str] = Counter()
        self._names = 0
        contract = setup.contract
        self.raw, self.judged, self.quarantine = (
            [TopicPartition(topic, p) for p in range(setup.partitions)]
            for topic in (contract.raw_topic, contract.judged_topic, contract.quarantine_topic)
        )
        assigned = {"land": self.raw + self.judged, "quality": self.raw + self.judged, "aggregate": self.judged}
        environment = self.loop.environment
        self.groups = {
            name: Group(environment, Random(seed + 4 + n), name, assigned[name]) for n, name in enumerate(GROUPS)
        }
        self.clients = clients_of(setup)
        self.gateway: Gateway | None = None
        self.models = [model.Naive() for _ in range(setup.partitions)]
        self.tables = {table.id: table for table in plan(setup.domain.events[0]).tables}

    def now_ms(self) -> int:
        """The log's time. It may go back a little, as where the broker that leads a partition changes."""
        return START_MS + int(self.loop.time() * 1000 * self.setup.scale) - self.behind_ms

    def say(self, what: str) -> None:
        self.trace.append(f"{self.loop.time():9.4f} {what}")

    def fault(self, kind: str, what: str = "") -> None:
        self.tally.faults[kind] += 1
        self.say(f"*** {kind} {what}")

    # ---- processes
    def start_all(self) -> None:
        for group in GROUPS:
            for _ in range(self.wanted[group]):
                self.start(group)
        self.start_gateway()

    def start(self, group: str, *, join: bool = True) -> Worker:
        self._names += 1
        name = f"{group}-{self._names}"
        key = (group, self.deployed if group == "quality" else "")
        if key not in self._sources:
            servers = Servers(self.log, self.store, self.state)
            clock = self.loop.time
            self._sources[key] = self.setup.sources(group, self.deployed, servers, clock, self.now_ms)
        worker = Worker(Process(self.loop, name), self._sources[key], self.memory_log, self.random, self._died)
        self.workers.append(worker)
        if join:
            self.groups[group].join(worker)
        self.say(f"start {name} {key[1]}")
        return worker

    def group_of(self, worker: Worker) -> Group:
        return self.groups[worker.process.name.partition("-")[0]]

    def _died(self, worker: Worker, why: str) -> None:
        said = f"{worker.process} leaves: {_without_claims(why)}"
        self.say(said)
        kind = why.partition(": ")[2].partition(":")[0]
        self.tally.deaths[kind] += 1
        if kind not in ("Fatal", "Superseded"):
            self.unforeseen.append(said)
        self._gone(worker, noticed=False)

    def crash(self, worker: Worker) -> None:
        if worker.process.alive:
            worker.kill()
            self._gone(worker, noticed=False)

    def retire(self, worker: Worker) -> None:
        """SIGTERM: it closes its partitions, tells the group, and is gone."""
        self.workers.remove(worker)
        group = self.group_of(worker)
        if worker in group.members:
            group.members.remove(worker)
        closing = worker.process.spawn(worker.lanes.close())
        closing.add_done_callback(lambda _: worker.kill())
        self.loop.environment.call_later(0.05, group.rebalance)

    def _gone(self, worker: Worker, *, noticed: bool) -> None:
        group = self.group_of(worker)
        group.leave(worker, noticed=noticed)
        if worker not in self.workers:  # retired, and failed while it closed
            return
        self.workers.remove(worker)
        self.top_up(group.name)

    def top_up(self, group: str) -> None:
        """The supervisor: as many processes as are wanted, each after a moment."""
        alive = sum(1 for worker in self.workers if self.group_of(worker).name == group)
        for _ in range(self.wanted[group] - alive - self._starting[group]):
            self._starting[group] += 1
            self.loop.environment.call_later(self.random.uniform(0.1, RESTART_S), self._restart, group)

    def _restart(self, group: str) -> None:
        self._starting[group] -= 1
        self.start(group)

    def start_gateway(self) -> None:
        """A new one takes over from the one there was, if any."""
        if self.gateway is not None:
            self.gateway.process.kill()
        self._names += 1
        process = Process(self.loop, f"gateway-{self._names}")
        self.gateway = Gateway(process, self.setup, self.state, self.clients, self.unforeseen.append)

    def roll_back(self, changes: int, why: str = "") -> None:
        """The state store loses its last changes."""
        if self.state.roll_back(changes):
            self.fault("rollback", f"by {changes} {why}")

    # ---- records
    def produce(self, random: Random, count: int) -> None:
        for _ in range(count):
            tp = random.choice(self.raw)
            if random.random() < 0.1:
                self.memory_log.skip(tp, random.randint(1, 3))
            self.memory_log.append(tp, None, self._value(tp, random))
            self.tally.produced += 1
        self.wake()

    def _value(self, tp: TopicPartition, random: Random) -> bytes:
        now, number = self.now_ms(), self.tally.produced
        drawn = random.random()
        if drawn < 0.06:
            return random.choice((b"", b"not json", b'{"id": 7}', b'{"id":"x","id":"y"}', b"\xff"))
        earlier = self.memory_log.history(tp)
        if drawn < 0.25 and earlier:
            reach = random.choice((3, 20, 1000))
            return random.choice(earlier[-reach:]).value or b""
        age_ms = random.choice((0, 0, 10, 2_000, 9_000, 12_000, 40_000, 100_000, -3_000, -90_000))
        event: dict[str, Any] = {
            "id": f"e{number}",
            "at": now - age_ms,
            "shop": f"s{random.choice((1, 1, 1, 2, 3, 4, 5))}",
            "amount": random.randint(1, 9_999) / 100,
        }
        if drawn > 0.97:
            event["amount"] = -1
        return json.dumps(event).encode()

    def chain_end(self, tp: TopicPartition) -> int:
        """What is landed of a partition."""
        prefix = f"landing/{tp.topic}/{tp.partition}/"
        last = max((key for key in self.objects.objects if key.startswith(prefix)), default="")
        return model.footer_of(self.objects.objects[last])["next"] if last else 0

    def wake(self) -> None:
        """Records came in: whoever polls hears of it."""
        for worker in self.workers:
            self.loop.environment.call_later(0.001, worker.wake)


def _without_claims(text: str) -> str:
    """Claims are random by design; a trace is not."""
    return " ".join(word if len(word.strip("',")) < 32 else "<claim>" for word in text.split())[:300]
