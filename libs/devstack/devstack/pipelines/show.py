"""A run of a pipeline as a person sees it: a table that moves on a terminal, else a line for each change."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from dataforge.pipelines import Pipeline

from devstack.pipelines.attempt import last_words
from devstack.pipelines.report import Report, Status, StepReport
from devstack.pipelines.run import Watch

_COLOURS: dict[Status, str] = {"done": "green", "failed": "red", "running": "bold", "skipped": "yellow"}


@contextmanager
def shown(console: Console, pipeline: Pipeline, report: Report) -> Iterator[Watch]:
    """Yields what the run calls whenever a step changes."""
    if not console.is_terminal:
        yield lambda step: console.print(_line(step), highlight=False, soft_wrap=True, markup=False)
        return

    began_s: dict[str, float] = {}

    def watch(step: StepReport) -> None:
        began_s.setdefault(step.step, time.monotonic())

    class Now:
        def __rich__(self) -> Table:
            return steps_table(pipeline, report, began_s)

    with Live(Now(), console=console, refresh_per_second=4):
        yield watch


def steps_table(pipeline: Pipeline, report: Report, began_s: Mapping[str, float]) -> Table:
    """`began_s`: by `time.monotonic`, of each step that was begun."""
    table = Table(title=f"{pipeline.name}: {pipeline.why}", title_justify="left", box=None)
    for name in ("step", "", "attempts", "seconds", "what for, or what it said"):
        table.add_column(name, justify="right" if name in ("attempts", "seconds") else "left")
    for step, said in zip(pipeline.steps, report.steps, strict=True):
        status = said.status.replace("_", " ")
        colour = _COLOURS.get(said.status)
        goes_on = said.status in ("running", "waiting") and step.name in began_s
        seconds = time.monotonic() - began_s[step.name] if goes_on else said.seconds
        table.add_row(
            step.name,
            f"[{colour}]{status}[/]" if colour else status,
            f"{said.attempts} of {step.retries + 1}" if said.attempts else "",
            f"{seconds:.0f}" if said.attempts else "",
            escape(_shown_words(said) or step.why),
        )
    return table


def _shown_words(said: StepReport) -> str:
    if said.status == "running" and Path(said.log).exists():
        return last_words(Path(said.log)).rpartition("\n")[2]
    return _last_line(said) if said.status in ("waiting", "failed") else ""


def plan_table(pipeline: Pipeline) -> Table:
    """The steps in their order, and what each is allowed."""
    table = Table(title=f"{pipeline.name} ({pipeline.schedule} UTC): {pipeline.why}", title_justify="left", box=None)
    for name in ("step", "dataforge …", "needs", "retries", "first pause", "limit", "why"):
        table.add_column(name)
    for step in pipeline.steps:
        limits = (str(step.retries), f"{step.backoff_s:g} s", f"{step.timeout_s:g} s")
        table.add_row(step.name, escape(" ".join(step.run)), ", ".join(step.needs), *limits, escape(step.why))
    return table


def _line(step: StepReport) -> str:
    match step.status:
        case "running":
            return f"{step.step}: attempt {step.attempts}"
        case "waiting":
            return f"{step.step}: attempt {step.attempts} failed, it is tried again: {_last_line(step)}"
        case "failed":
            return f"{step.step}: failed after {step.attempts} attempts, see {step.log}\n{step.said}"
        case "done":
            return f"{step.step}: done in {step.seconds:.1f} s"
        case _:
            return f"{step.step}: {step.status.replace('_', ' ')}"


def _last_line(step: StepReport) -> str:
    return step.said.rpartition("\n")[2]
