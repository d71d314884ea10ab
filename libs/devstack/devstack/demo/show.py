"""The report for people. Pure."""

from rich.table import Table

from devstack.demo.report import Report

_INJECTED = ("plain", "late_within", "late_beyond", "out_of_order", "duplicate")


def report_table(report: Report) -> Table:
    """The report for people."""
    table = Table(title="agrees" if report.agrees else "DOES NOT AGREE", show_header=False)
    table.title_style = "bold green" if report.agrees else "bold red"

    def row(name: str, value: object, note: str = "") -> None:
        table.add_row(name, f"{value:,}" if isinstance(value, int | float) else str(value), note)

    row("sent", report.sent, ", ".join(f"{k} {n:,}" for k, n in report.injected.items() if k in _INJECTED))
    row("received", report.received, "counted from Kafka by an independent consumer")
    row("landed", report.landed, "rows in the landing objects")
    row("valid", report.valid)
    row("quarantined", sum(report.quarantined.values()), _counts(report.quarantined))
    row("undecodable", report.undecodable, _counts(report.undecodable_reasons))
    row("counted", report.counted)
    row("duplicates", report.duplicates)
    row("late", report.late)
    row(
        "windows compared",
        report.windows_compared,
        ", ".join(f"{m} {n:,}" for m, n in report.windows_by_metric.items()),
    )
    row("  equal", report.windows_equal, f"rolling at {', '.join(report.rolling_compared_at)}")
    row("  different", report.windows_different)
    row("  missing", report.windows_missing)
    row("  extra", report.windows_extra)
    row("elapsed", f"{report.elapsed_s:.1f} s", f"{report.events_per_s:,.0f} events/s from produce to KPI and landing")
    if report.latency_ms:
        row(
            "latency",
            f"p50 {report.latency_ms['p50']:.0f} ms",
            f"p99 {report.latency_ms['p99']:.0f} ms, from produce to push",
        )
    if report.lake:
        row("lake", report.lake.rows.get("bronze", 0), f"rows of bronze, {report.lake.streamed:,} of them streamed")
        row("  windows compared", report.lake.compared)
        row("  equal", report.lake.equal)
        row("  corrected", report.lake.corrected)
        row("  explained", report.lake.explained, "exactly what late events and far repeats make of them")
        row("  unexplained", report.lake.unexplained)
    for problem in report.problems[:20]:
        row("[red]problem[/]", "", problem.replace("[", r"\["))
    for difference in report.first_differences[:10]:
        row("[red]difference[/]", "", str(difference).replace("[", r"\["))
    return table


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items())
