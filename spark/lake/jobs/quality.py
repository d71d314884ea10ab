"""What quality.yaml expects of silver's last days, held against what is so."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyspark.sql import SparkSession

from dataforge.contracts.model import EventType, Expectation
from dataforge.quality.report import Finding, Report

from lake import tables
from lake.jobs.silver import at
from lake.position import head
from lake.quality_alerts import told
from lake.transforms.observe import Observed, observed


@dataclass(frozen=True, slots=True)
class Quality:
    """Changes nothing but reports. Run beside writers, it looks at the snapshot that it finds."""

    spark: SparkSession
    judge: Callable[[Report], Report]
    """Fills in what the findings' numbers mean."""
    publish: Callable[[EventType, Report], None]
    clock_ms: Callable[[], int]
    say: Callable[[str], None]

    def run(self, event: EventType) -> dict[str, int]:
        """*Raises* `Transient` where the report may not be published: run it again."""
        table, now_ms = tables.silver(event), self.clock_ms()
        if not event.expectations or not tables.exists(self.spark, table):
            return _did([])
        seen = head(self.spark, table)
        if seen.snapshot is None:
            return _did([])
        rows, numbers = observed(at(self.spark, table, seen), event, now_ms)
        findings = [finding(one, numbers[one.name]) for one in event.expectations]
        report = self.judge(
            Report(
                event=event.contract.name,
                source="suite",
                at_ms=now_ms,
                snapshot=seen.snapshot,
                rows=rows,
                findings=findings,
            )
        )
        self.publish(event, report)
        for one in report.findings:
            if one.status == "failed":
                self.say(f"{event.contract.name}: {told(one)}")
        return _did(report.findings)


def _did(findings: Sequence[Finding]) -> dict[str, int]:
    statuses = [one.status for one in findings]
    return {
        "expectations": len(statuses),
        "failed": statuses.count("failed"),
        "unknown": statuses.count("unknown"),
    }


def finding(one: Expectation, number: Observed) -> Finding:
    """Pure. Nobody has judged it yet."""
    return Finding(
        name=one.name, kind=one.kind.value, severity=one.severity, status="unknown", observed=number.value,
        least=one.least, most=one.most, rows=number.rows, failed=number.failed, why=one.why,
    )  # fmt: skip
