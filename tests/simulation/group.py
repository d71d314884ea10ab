"""A consumer group: who is assigned what, and when each member hears of it.

It promises less than Kafka: members hear of a rebalance at different times, so that an old owner goes on beside the
new one, as a process does that was stopped, or cut off, for longer than its session.
"""

from collections.abc import Callable, Sequence
from random import Random

from dataforge.stream.records import TopicPartition

from simulation.loop import Process
from simulation.worker import Worker

HEARD_S, HEARD_LATE_S = 0.05, 15.0


class Group:
    def __init__(self, environment: Process, random: Random, name: str, tps: Sequence[TopicPartition]) -> None:
        self._environment, self._random, self.name, self._tps = environment, random, name, tps
        self.members: list[Worker] = []
        self._shares: dict[Worker, list[TopicPartition]] = {}
        self.late = 0.0
        """Share of the notices that come late."""
        self.on_rebalance: Callable[[], None] = lambda: None

    def join(self, worker: Worker) -> None:
        self.members.append(worker)
        self.rebalance()

    def leave(self, worker: Worker, *, noticed: bool) -> None:
        """A member is gone; the group notices at once, or when the session has ended."""
        if worker in self.members:
            self.members.remove(worker)
            self._environment.call_later(0.01 if noticed else self._random.uniform(0.5, 6.0), self.rebalance)

    def rebalance(self) -> None:
        """Assign anew, in a drawn order; members that are stopped hear of it when they go on."""
        self.on_rebalance()
        members = [member for member in self.members if member.process.alive]
        self._random.shuffle(members)
        self._shares = {member: [] for member in members}
        for n, tp in enumerate(self._tps):
            if members:
                self._shares[members[n % len(members)]].append(tp)
        for member in members:
            late = self._random.random() < self.late
            delay_s = self._random.uniform(0, HEARD_LATE_S if late else HEARD_S)
            member.process.call_later(delay_s, self._tell, member)

    def _tell(self, member: Worker) -> None:
        """Whatever is true by now: a late notice is of the newest rebalance."""
        if member in self._shares:
            member.assign(self._shares[member])
