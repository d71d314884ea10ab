"""A chaos run as people see it: while it goes on, and what came out."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from devstack.chaos.director import Director
from devstack.chaos.report import Report
from devstack.chaos.schedule import Planned
from devstack.chaos.watch import Watch

_SHOWN_PROBLEMS = 20


@contextmanager
def live(console: Console, wanted: int, director: Director, watch: Watch) -> Iterator[None]:
    """Faults so far, what is in force, how far each stage is behind; where the console is no terminal, a line for
    each fault as it strikes.
    """
    if not console.is_terminal:
        director.tell = lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True)
        yield
        return

    class Now:
        def __rich__(self) -> RenderableType:
            return _now(wanted, director, watch)

    with Live(Now(), console=console, refresh_per_second=4, transient=True):
        yield


def _now(wanted: int, director: Director, watch: Watch) -> RenderableType:
    passed_s = time.monotonic() - director.begin_s
    faults = Table(title=f"{len(director.happened)} of {wanted} faults, {passed_s / 60:.1f} min", box=None)
    faults.add_column("in force")
    faults.add_column("for", justify="right")
    for happened in director.in_force:
        fault = happened.planned.fault
        faults.add_row(f"{fault.kind} of {fault.victim}", f"{time.monotonic() - happened.injected_s:.0f} s")
    stages = Table(box=None)
    stages.add_column("stage")
    stages.add_column("records behind", justify="right")
    for stage, records in watch.lag().items():
        stages.add_row(stage, f"{records:,}")
    return Group(faults, stages)


def schedule_table(planned: Sequence[Planned]) -> Table:
    table = Table(title="schedule")
    for name in ("#", "at s", "for s", "kind", "victim", ""):
        table.add_column(name)
    for p in planned:
        beside = "beside the one before" if p.after_s is not None else ""
        table.add_row(str(p.number), f"{p.at_s:.0f}", f"{p.duration_s:.0f}", p.kind, p.fault.victim, beside)
    return table


def report_table(report: Report) -> Table:
    table = Table(title="nothing lost, nothing counted twice" if report.passed else "FAILED", show_header=False)
    table.title_style = "bold green" if report.passed else "bold red"

    def row(name: str, value: object, note: str = "") -> None:
        shown = f"{value:,}" if isinstance(value, int) else "?" if value is None else str(value)
        table.add_row(name, shown, note.replace("[", r"\["))

    row("faults", sum(report.faults.values()), _counts(report.faults))
    row("events", report.events, _counts(report.expected))
    row("lost", report.lost, "log, landing, judged, quarantine, ledger")
    row("double counted", report.double_counted)
    row("wrong windows", report.wrong_windows, f"of {report.windows_compared:,}")
    row(
        "slowest recovery",
        "never" if report.recovery_max_s is None else f"{report.recovery_max_s:.1f} s",
        _slow(report),
    )
    row("live clients", report.ws.get("rows_wrong", "?"), f"wrong rows; {_counts(report.ws)}")
    row(
        "ledger verify",
        "see the problems"
        if any("ledger verify" in p for p in report.problems)
        else "clean"
        if report.verify
        else "not there",
    )
    for kind, why in report.unavailable.items():
        row("unavailable", kind, why)
    row("elapsed", f"{report.elapsed_s:.0f} s")
    for problem in report.problems[:_SHOWN_PROBLEMS]:
        row("[red]problem[/]", "", problem)
    for difference in report.first_differences[:5]:
        row("[red]difference[/]", "", str(difference))
    return table


def _counts(counts: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {n:,}" if isinstance(n, int) else f"{name} {n}" for name, n in counts.items())


def _slow(report: Report) -> str:
    """The slowest of each stage."""
    stages = {stage for hit in report.recovery_s for stage in hit.stages}
    slowest = {
        s: max((hit.stages[s] or 0.0 for hit in report.recovery_s if s in hit.stages), default=0.0) for s in stages
    }
    return ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in sorted(slowest.items()))
