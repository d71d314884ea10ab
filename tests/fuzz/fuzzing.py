"""Judge and fold as many fuzzed records as asked for, and hold every outcome against what must be so of any record."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from dataforge.contracts.load import load_domain
from dataforge.contracts.model import Domain, EventType
from dataforge.contracts.reasons import UNDECODABLE, Reason
from dataforge.state.memory import MemoryState
from dataforge.stream.judged import HEADER, Stamp, Verdict, fingerprint
from dataforge.stream.records import LogRecord, RecordBatch, TopicPartition

from aggregator.compile import compile_event
from aggregator.partition import AggregatorPartition, Pace
from mutate import mutated, noise, written
from quality_worker.judge import Judge, Judgement
from strange_domain import Make, StrangeDomain

RETAIL = Path(__file__).parents[2] / "domains" / "retail"
NOW_MS = 1_795_248_000_000
REASONS = {*Reason, "no_units", "few", "no_ants", "no_two"} - {Reason.JUDGE_ERROR, Reason.TOO_LARGE}
"""Of the platform and of the domains' rules; a failing judge is no outcome that a record may have, and a thousand
records of 8 MiB are none that a fuzzer can make: `too_large` has tests of its own.
"""
BATCH = 2_000
MUTATED, NOISE = 0.85, 0.07
"""Shares of the records; the rest are good ones."""


class Report(msgspec.Struct):
    seed: int
    records: int = 0
    mutations: int = 0
    good: int = 0
    seconds: float = 0.0
    verdicts: dict[str, int] = {}
    reasons: dict[str, int] = {}
    """Of the platform and of rules."""
    outcomes: dict[str, int] = {}
    """What the fold made of the valid ones."""


class Subject:
    """One event type: a judge, the same without its quick look, and the fold behind them."""

    def __init__(self, event: EventType, domain: Domain, make: Make) -> None:
        self.event, self._make = event, make
        self._judge, self._slow = Judge(event), Judge(event)
        self._slow._quick = lambda *_: False
        self._rules = {rule.name for rule in event.rules}
        self._judged = TopicPartition(event.contract.judged_topic, 0)
        self._compiled = compile_event(event, domain.fingerprint)
        self._state = MemoryState()
        self._fold = AggregatorPartition(self._judged, self._compiled, self._state, time.monotonic, Pace(10**9))
        self._pending: list[LogRecord] = []
        self.offset = 0
        self.counts: Counter[tuple[str, str]] = Counter()

    async def open(self) -> None:
        await self._fold.open()

    def good(self, r: random.Random) -> dict[str, Any]:
        return self._make(r, self.offset, NOW_MS + self.offset)

    async def check(self, record: LogRecord, *, good: bool) -> None:
        """*Raises* `AssertionError` where the outcome is none that may be; the record is in its text."""
        judgement = self._judge.judge(record)
        assert judgement == self._judge.judge(record), ("judged twice", record, judgement)
        assert judgement == self._slow.judge(record), ("quick and slow differ", record, judgement)
        self._plausible(record, judgement, good=good)
        self.counts[judgement.verdict.name.lower(), judgement.reason] += 1
        stamp = Stamp(
            judgement.verdict,
            record.offset,
            record.offset,
            record.timestamp,
            self.event.contract.fingerprint,
            fingerprint(record.value),
            bytes(16),
        )
        self._pending.append(record._replace(headers=[(HEADER, stamp.pack())]))
        self.offset += 1
        if len(self._pending) == BATCH:
            await self.fold()

    async def fold(self) -> None:
        records, self._pending = self._pending, []
        await self._fold.take(RecordBatch(*self._judged, self.offset - len(records), self.offset, records))

    async def outcomes(self) -> Counter[str]:
        """What the fold made of the valid ones. *Raises* `AssertionError` where that is not one each."""
        await self.fold()
        await self._fold.close()
        found: Counter[str] = Counter()
        for minute in self._fold.fold.ledger.values():
            found.update({name: minute[name] for name in ("valid", "counted", "duplicate", "late")})
        assert found["valid"] == found["counted"] + found["duplicate"] + found["late"], found
        assert found["valid"] == sum(n for (verdict, _), n in self.counts.items() if verdict == "valid"), found
        return found

    def _plausible(self, record: LogRecord, judgement: Judgement, *, good: bool) -> None:
        verdict, reason = judgement.verdict, judgement.reason
        assert reason != Reason.JUDGE_ERROR, ("the judge failed", record, judgement.detail)
        assert reason in {*Reason, *self._rules, ""}, (reason, record)
        assert (verdict is Verdict.VALID) == (reason == ""), (judgement, record)
        assert (verdict is Verdict.UNDECODABLE) == (reason in UNDECODABLE), (judgement, record)
        if good:
            assert verdict is Verdict.VALID or reason in self._rules, (judgement, record)
        if verdict is Verdict.VALID:
            document = json.loads((record.value or b"").decode(), object_pairs_hook=_distinct, parse_int=str)
            assert set(self.event.contract.schema["required"]) <= set(document), record


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), ("a key twice was valid", pairs)
    return dict(pairs)


async def fuzz(records: int, seed: int, folder: Path, on_progress: Callable[[int], None] = lambda _: None) -> Report:
    """`records` of them, spread over three event types. *Raises* `AssertionError` at the first impossible outcome."""
    started, r, report = time.monotonic(), random.Random(seed), Report(seed)
    subjects = _subjects(seed, folder)
    for subject in subjects:
        await subject.open()
    for n in range(records):
        subject = r.choice(subjects)
        kind = r.random()
        if kind < MUTATED:
            record = mutated(r, subject.good(r), subject.event.contract, subject.offset, NOW_MS + subject.offset)
        elif kind < MUTATED + NOISE:
            record = noise(r, subject.offset, NOW_MS + subject.offset)
        else:
            record = LogRecord(subject.offset, NOW_MS + subject.offset, b"k", written(r, subject.good(r)))
        report.mutations += kind < MUTATED
        report.good += kind >= MUTATED + NOISE
        await subject.check(record, good=kind >= MUTATED + NOISE)
        if n % BATCH == 0:
            on_progress(n)
    counts = sum((subject.counts for subject in subjects), Counter[tuple[str, str]]())
    report.records = counts.total()
    for (verdict, reason), number in sorted(counts.items()):
        report.verdicts[verdict] = report.verdicts.get(verdict, 0) + number
        if reason:
            report.reasons[reason] = report.reasons.get(reason, 0) + number
    for subject in subjects:
        for outcome, number in (await subject.outcomes()).items():
            report.outcomes[outcome] = report.outcomes.get(outcome, 0) + number
    report.seconds = round(time.monotonic() - started, 1)
    return report


def _subjects(seed: int, folder: Path) -> list[Subject]:
    retail, drawn = load_domain(RETAIL), StrangeDomain(seed)
    strange = drawn.load(folder)
    return [
        Subject(retail.event("purchase"), retail, _purchase),
        Subject(strange.event("flat"), strange, drawn.make_flat),
        Subject(strange.event("deep"), strange, drawn.make_deep),
    ]


def _purchase(r: random.Random, n: int, now_ms: int) -> dict[str, Any]:
    return {
        "event_id": f"1-{n}",
        "occurred_at": datetime.fromtimestamp((now_ms - r.randint(0, 5_000)) / 1_000, UTC).isoformat(),
        "household_id": r.randint(1, 2_500),
        "store_id": r.randint(1, 500),
        "basket_id": r.randint(1, 10**11),
        "product_id": r.choice([995242, 1029743, 1]),
        "quantity": r.randint(0, 9),  # 0 breaks a rule
        "sales_value": r.randint(0, 10_000) / 100,
        "retail_disc": r.randint(0, 100) / 100,
        "coupon_disc": 0,
        "coupon_match_disc": 0.0,
        "week": r.randint(1, 53),
    }
