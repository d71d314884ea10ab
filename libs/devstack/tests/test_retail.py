"""The oracle's hand-written retail domain beside the folder the platform reads: nothing is left out of either."""

import pytest
from retail_log import ORIGIN_MS, retail_log

from dataforge.contracts.load import load_domains
from dataforge.contracts.model import EventType, MeasureKind
from dataforge.stream.judged import Verdict
from dataforge.stream.records import LogRecord

from devstack.oracle import retail
from devstack.paths import repo_root
from devstack.replay.malformed import KINDS
from devstack.replay.plan import KIND_NAMES, MALFORMED, Faults
from quality_worker.judge import Judge


@pytest.fixture(scope="module")
def event() -> EventType:
    return load_domains([repo_root() / "domains" / "retail"])[0].event("purchase")


def test_every_metric_dimension_and_window_is_compared(event: EventType) -> None:
    windows = set(retail.WINDOWS_MS.values())
    exact = {name: m for name, m in event.metrics.items() if not m.measure.kind.sketched}
    assert set(exact) == set(retail.EXACT)
    for metric in exact.values():
        assert {",".join(by) for by in metric.by} == set(retail.DIMENSIONS)
        assert set(metric.windows_ms) == windows
        assert [(r.size_ms, r.every_ms) for r in metric.rolling] == [(retail.ROLLING_MS, retail.ROLLING_EVERY_MS)]
    sketched = {name: m for name, m in event.metrics.items() if m.measure.kind.sketched}
    assert set(sketched) == {*retail.DISTINCT, *retail.QUANTILES, *retail.TOP}
    for metric in sketched.values():
        assert metric.by == ((),)
        assert set(metric.windows_ms) == {retail.WINDOWS_MS[w] for w in retail.SKETCHED_WINDOWS}
        if metric.measure.kind is MeasureKind.QUANTILES:
            assert [f"p{q * 100:g}" for q in metric.measure.quantiles] == list(retail.RANKS)
        if metric.measure.kind is MeasureKind.TOP_K:
            assert metric.measure.k == retail.TOP_SIZE


def test_the_promises_are_the_same(event: EventType) -> None:
    assert event.lateness_ms == retail.LATENESS_MS
    assert {rule.name for rule in event.rules if rule.action == "quarantine"} == {"no_units"}
    assert event.label_cap > 457


def test_the_judge_says_of_every_kind_of_bad_input_what_the_oracle_says(event: EventType) -> None:
    assert set(retail.BAD_INPUT) == set(KINDS)
    log = retail_log(300, Faults(malformed=0.3))
    judge = Judge(event)
    seen = set()
    for kind, index, sent in zip(log.plan.kind, log.plan.index, log.sent, strict=True):
        name = KIND_NAMES[kind]
        if kind >= MALFORMED and log.purchases.ordinary[index]:
            judged = judge.judge(LogRecord(0, ORIGIN_MS, sent.key, sent.value))
            assert (name, judged.verdict.name.lower(), judged.reason) == (name, *retail.BAD_INPUT[name])
            seen.add(name)
    assert seen == set(KINDS)


def test_good_events_are_valid(event: EventType) -> None:
    log, judge = retail_log(2_000, Faults()), Judge(event)
    after_ms = ORIGIN_MS + int(log.plan.send_ms[-1])
    verdicts = [judge.judge(LogRecord(0, after_ms, sent.key, sent.value)) for sent in log.sent]
    units = log.purchases.quantity[log.plan.index]
    assert [v.verdict is Verdict.VALID for v in verdicts] == (units >= 1).tolist()
    assert {v.reason for v in verdicts if v.verdict is not Verdict.VALID} == {"no_units"}
