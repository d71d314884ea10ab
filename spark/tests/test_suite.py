"""Great Expectations over numbers that were observed. No Spark."""

from pathlib import Path

from dataforge.quality.report import Finding, Report, status_of

from lake import suite


def finding(name: str, observed: float | None, least: float | None, most: float | None) -> Finding:
    return Finding(
        name=name, kind="mean", severity="fail", status="unknown", observed=observed, least=least, most=most,
        rows=10, why=f"There is a reason for {name}.",
    )  # fmt: skip


def report(at_ms: int, *findings: Finding) -> Report:
    return Report(event="shop.order.v1", source="suite", at_ms=at_ms, snapshot=7, rows=10, findings=list(findings))


def test_numbers_are_judged_by_their_limits_and_shown_with_their_reasons(tmp_path: Path):
    findings = [
        finding("below", 0.98999, 0.99, None),
        finding("least", 0.99, 0.99, None),
        finding("most", 4.0, 2.5, 4),
        finding("above", 4.000001, 2.5, 4),
        finding("nothing", None, 0, 1),
    ]
    judged = suite.judged(report(1_700_000_000_000, *findings))
    assert [one.status for one in judged.findings] == [status_of(one.observed, one.least, one.most) for one in findings]
    assert [one.status for one in judged.findings] == ["failed", "passed", "passed", "failed", "unknown"]
    assert suite.judged(report(1, finding("nothing", None, 0, 1))).findings[0].status == "unknown"

    newer = report(1_700_000_100_000, finding("later", 1.0, 0.5, None))
    page = suite.documented([newer, judged], tmp_path / "pages")
    assert page.is_file()
    suites = "".join(file.read_text() for file in (tmp_path / "pages" / "expectations").rglob("*.html"))
    shown = {file.read_text() for file in (tmp_path / "pages" / "validations").rglob("*.html")}
    assert "There is a reason for later." in suites
    assert len(shown) == 2
    [older] = [text for text in shown if "below" in text]
    assert "4.000001" in older
