"""What is wrong with a ledger, since when, and which alerts say so. Pure.

An imbalance is normal for a moment: stages are read one after the other. It is a problem once it persists.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Literal, NamedTuple

from dataforge.alerts import Alert
from dataforge.kpi.instants import instant
from dataforge.ledger.balance import Minute, PartitionLedger

ALERT_KIND = "ledger_imbalance"

Kind = Literal["minute", "landing", "judging", "counting"]

_SERVICE = {"landing": "landing-worker", "judging": "quality-worker", "counting": "aggregator"}


class Subject(NamedTuple):
    """What a problem is about: one partition of an event's raw topic."""

    domain: str
    topic: str
    partition: int


class Problem(NamedTuple):
    subject: Subject
    kind: Kind
    mark: int
    """The minute (ms), or the offset at which the stage stands: at another offset it is another problem."""
    text: str
    end: int = 0
    """Of a standing stage: where the log it reads ends."""

    @property
    def key(self) -> tuple[Subject, Kind, int]:
        return (self.subject, self.kind, self.mark)


def problems_of(domain: str, raw_topic: str, ledger: PartitionLedger) -> list[Problem]:
    """Closed minutes that do not balance, and stages that are behind the one before them."""
    subject = Subject(domain, raw_topic, ledger.partition)
    found = [
        Problem(subject, "minute", minute.at_ms, f"of {instant(minute.at_ms)}, {_difference(minute)}")
        for minute in ledger.unbalanced
    ]
    if ledger.raw_end is None or ledger.judged_end is None:
        return found
    if ledger.landed is not None and ledger.landed < ledger.raw_end:
        found.append(_standing(subject, "landing", ledger.landed, ledger.raw_end, raw_topic))
    if ledger.position < ledger.judged_end:
        judged_topic = raw_topic.replace("raw.", "judged.", 1)
        found.append(_standing(subject, "counting", ledger.position, ledger.judged_end, judged_topic))
    elif ledger.next < ledger.raw_end:
        found.append(_standing(subject, "judging", ledger.next, ledger.raw_end, raw_topic))
    return found


def _difference(minute: Minute) -> str:
    counts = minute.counts
    if not counts.balanced:
        outcomes = f"counted {counts.counted} + duplicate {counts.duplicate} + late {counts.late}"
        return f"valid {counts.valid} is not {outcomes}"
    return f"{minute.landed} records are landed and {counts.judged} have an outcome"


def _standing(subject: Subject, kind: Kind, at: int, end: int, topic: str) -> Problem:
    text = f"{kind} stands at offset {at} of {topic}/{subject.partition}, whose log ends at {end}"
    return Problem(subject, kind, at, text, end)


class Persistence:
    """Remembers since when each problem has been seen without a break. Time is the caller's (s, monotonic)."""

    def __init__(self) -> None:
        self._since: dict[tuple[Subject, Kind, int], float] = {}

    def observe(self, problems: Iterable[Problem], now_s: float) -> list[tuple[Problem, float]]:
        """Each problem with its age (s). What is not named any more is forgotten."""
        found = {problem.key: problem for problem in problems}
        self._since = {key: self._since.get(key, now_s) for key in found}
        return [(problem, now_s - self._since[key]) for key, problem in found.items()]


def alerts_due(
    persisting: Iterable[Problem],
    sound: Collection[Subject],
    known: Mapping[str, Alert],
    at_ms: int,
) -> list[Alert]:
    """The records that must be written: of partitions whose problems persist and whose alert is not raised yet, and of
    raised alerts whose partition is in `sound` (observed just now, and without any problem).
    """
    by_subject: dict[Subject, list[Problem]] = {}
    for problem in persisting:
        by_subject.setdefault(problem.subject, []).append(problem)
    due: list[Alert] = []
    for subject, problems in by_subject.items():
        alert = _alert(subject, problems, at_ms)
        before = known.get(alert.key)
        if before is None or before.state == "cleared":
            later = at_ms if before is None else max(at_ms, before.at_ms + 1)
            due.append(_alert(subject, problems, later))
    for alert in known.values():
        subject = Subject(alert.domain or "", alert.topic or "", alert.partition or 0)
        if alert.kind == ALERT_KIND and alert.state == "raised" and subject in sound and subject not in by_subject:
            due.append(alert.cleared(at_ms, f"the ledger of {subject.topic}/{subject.partition} balances again"))
    return due


def _alert(subject: Subject, problems: list[Problem], at_ms: int) -> Alert:
    stages = sorted({_SERVICE[problem.kind] for problem in problems if problem.kind in _SERVICE})
    look = f"look at the log of {' and '.join(stages)}; then " if stages else ""
    return Alert(
        kind=ALERT_KIND,
        severity="critical",
        at_ms=at_ms,
        domain=subject.domain,
        topic=subject.topic,
        partition=subject.partition,
        message=f"the ledger of {subject.topic}/{subject.partition} does not balance: {problems[0].text}",
        what_to_do=f"{look}run `dataforge ledger verify --domain {subject.domain}`: it names the first record",
        details={"problems": [{"kind": p.kind, "at": p.mark, "text": p.text} for p in problems[:20]]},
    )
