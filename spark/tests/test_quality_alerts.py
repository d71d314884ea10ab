"""Which report is worth an alert, and what it says. No Spark."""

from pathlib import Path

import pytest

from dataforge.alerts import Alert, current
from dataforge.contracts.model import Contract
from dataforge.quality.report import Finding, Report

from lake.quality_alerts import due, told
from quality_domain import quality_domain


@pytest.fixture
def contract(tmp_path: Path) -> Contract:
    return quality_domain(tmp_path / "shop").events[0].contract


def report(at_ms: int, *broken: str, warned: str = "w") -> Report:
    def one(name: str, severity: str, status: str) -> Finding:
        return Finding(name=name, kind="mean", severity=severity, status=status, observed=3.0, most=2.0)  # pyright: ignore[reportArgumentType]

    findings = [one(name, "fail", "failed" if name in broken else "passed") for name in ("a", "b")]
    findings.append(one(warned, "warn", "failed"))
    return Report(event="shop.order.v1", source="suite", at_ms=at_ms, snapshot=1, rows=1, findings=findings)


def test_alerts_follow_what_is_broken(contract: Contract):
    looks = [report(1), report(2, "a"), report(3, "a"), report(4, "a", "b"), report(5, "b"), report(6), report(7)]
    sent: list[tuple[int, str, list[str]]] = []
    alerts: list[Alert] = []
    for before, now in zip([None, *looks], looks, strict=False):
        for alert in due(now, before, contract):
            alerts.append(alert)
            sent.append((now.at_ms, alert.state, [one["name"] for one in alert.details["findings"]]))
    assert sent == [
        (2, "raised", ["a"]),
        (4, "raised", ["a", "b"]),
        (5, "raised", ["b"]),
        (6, "cleared", ["b"]),
    ]
    [(key, held)] = current([*alerts, *alerts]).items()
    assert (key, held.state) == ("quality_failed/shop/raw.shop.order.v1", "cleared"), "repeats change nothing"


def test_a_look_that_cannot_tell_clears_nothing(contract: Contract):
    def look(at_ms: int, status: str) -> Report:
        found = Finding(name="a", kind="mean", severity="fail", status=status, observed=3.0, most=2.0)  # pyright: ignore[reportArgumentType]
        return Report(event="shop.order.v1", source="gate", at_ms=at_ms, snapshot=1, rows=1, findings=[found])

    before: Report | None = None
    sent: list[tuple[int, str]] = []
    for at_ms, status in enumerate(["failed", "unknown", "unknown", "failed", "unknown", "passed", "unknown"]):
        now = look(at_ms, status).after(before)
        sent += [(at_ms, alert.state) for alert in due(now, before, contract)]
        before = now
    assert sent == [(0, "raised"), (5, "cleared")]


def test_a_message_has_its_numbers():
    shares = Finding(
        name="c", kind="range", severity="fail", status="failed", observed=0.5, least=0.9, rows=4_000, failed=2_000
    )
    mean = Finding(name="m", kind="mean", severity="fail", status="failed", observed=4.5, least=1, most=2.25)
    assert told(shares) == "c: 2,000 of 4,000 events do not hold, a share of 0.9 must"
    assert told(mean) == "m: 4.5, and it must be at least 1 and at most 2.25"
