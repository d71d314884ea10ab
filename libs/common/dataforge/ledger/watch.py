"""Looks at every ledger now and then; what stays unbalanced for too long becomes an alert, and is cleared later."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from dataforge.alerts import Alert
from dataforge.contracts.model import Domain, EventType
from dataforge.ledger.log_ends import LogEnds
from dataforge.ledger.observe import AWAY, Observer
from dataforge.ledger.problems import Persistence, Problem, Subject, alerts_due, problems_of
from dataforge.stream.records import TopicPartition

logger = logging.getLogger(__name__)


class AlertBook(Protocol):
    async def known(self) -> Mapping[str, Alert]:
        """Key -> what holds now, whoever wrote it. *Raises* `Transient`."""
        ...

    async def send(self, alert: Alert) -> None:
        """*Raises* `Transient`."""
        ...


class Aged(NamedTuple):
    problem: Problem
    age_s: float


class LedgerWatch:
    """*Guarantees*: a problem seen for `limit_s` is on the alerts topic, if that can be written; one that is over is
    cleared there. Another watch, before or beside this one, is read from that topic: nothing is raised twice.
    """

    def __init__(
        self,
        observer: Observer,
        domains: Sequence[Domain],
        *,
        logs: LogEnds | None = None,
        book: AlertBook | None = None,
        limit_s: float = 60.0,
        interval_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._observer, self._domains, self._logs, self._book = observer, domains, logs, book
        self._limit_s, self._interval_s, self._clock, self._now_ms = limit_s, interval_s, clock, now_ms
        self._persistence = Persistence()
        self._empty: dict[TopicPartition, tuple[int, int]] = {}
        """Offsets [from, to) that were read and hold no record."""
        self._known: Mapping[str, Alert] | None = None
        """The alerts, as read last."""
        self.persisting: tuple[Aged, ...] = ()
        """Problems older than the limit, as of the last look."""

    async def run(self) -> None:
        """For ever; a look that fails is logged and followed by the next."""
        while True:
            try:
                await self.look()
            except AWAY as error:
                logger.warning("the ledger cannot be looked at: %s", error)
            except Exception:
                # A watch that has ended would look like one that sees nothing wrong.
                logger.exception("a look at the ledger failed")
            await asyncio.sleep(self._interval_s)

    def persisting_of(self, raw_topic: str) -> list[Aged]:
        return [aged for aged in self.persisting if aged.problem.subject.topic == raw_topic]

    def summary(self) -> str | None:
        """For readiness: one line; None where all is balanced."""
        if not self.persisting:
            return None
        first = self.persisting[0]
        more = f" (and {len(self.persisting) - 1} more)" if len(self.persisting) > 1 else ""
        return f"{first.problem.subject.topic}/{first.problem.subject.partition}: {first.problem.text}{more}"

    async def look(self) -> None:
        """One look at everything. *Raises* what `Observer.observe` raises, and `Transient` of the alerts topic."""
        found: list[Problem] = []
        seen: set[Subject] = set()
        for domain in self._domains:
            for event in domain.events:
                problems, subjects = await self._event(domain, event)
                found += problems
                seen |= subjects
        aged = [Aged(*one) for one in self._persistence.observe(found, self._clock())]
        old = [one for one in aged if one.age_s >= self._limit_s]
        self.persisting = tuple([one for one in old if await self._real(one.problem)])
        if self._book is not None:
            await self._alert(self._book, seen - {problem.subject for problem in found})

    async def _alert(self, book: AlertBook, sound: set[Subject]) -> None:
        persisting = [aged.problem for aged in self.persisting]
        if self._known is not None and not alerts_due(persisting, sound, self._known, self._now_ms()):
            return
        # By what was read before, something is due: another watch may have written it since.
        known = dict(await book.known())
        for alert in alerts_due(persisting, sound, known, self._now_ms()):
            await book.send(alert)
            known[alert.key] = alert
            logger.log(logging.ERROR if alert.state == "raised" else logging.INFO, "%s", alert.message)
        self._known = known

    async def _event(self, domain: Domain, event: EventType) -> tuple[list[Problem], set[Subject]]:
        """Its problems, and the partitions of which all stages could be asked."""
        topic = event.contract.raw_topic
        observed = await self._observer.observe(domain, event)
        problems = [
            problem
            for partition in observed.partitions
            for problem in problems_of(domain.name, topic, partition)
            if not self._known_empty(problem)
        ]
        whole = set() if observed.away else {Subject(domain.name, topic, p.partition) for p in observed.partitions}
        return problems, whole

    def _known_empty(self, problem: Problem) -> bool:
        first, last = self._empty.get(_log_of(problem), (0, 0))
        return problem.kind != "minute" and first <= problem.mark and problem.end <= last

    async def _real(self, problem: Problem) -> bool:
        """A stage that stands before offsets that hold no record (a transaction's marks) is not behind."""
        if problem.kind == "minute" or self._logs is None:
            return True
        tp = _log_of(problem)
        if await self._logs.holds_records(tp, problem.mark, problem.end):
            return True
        self._empty[tp] = (problem.mark, problem.end)
        return False


def _log_of(problem: Problem) -> TopicPartition:
    topic = problem.subject.topic
    judged = problem.kind == "counting"
    return TopicPartition(topic.replace("raw.", "judged.", 1) if judged else topic, problem.subject.partition)
