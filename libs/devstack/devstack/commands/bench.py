"""`dataforge bench`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table

from devstack.bench.contest import SuiteReport
from devstack.bench.plot import svg
from devstack.bench.suites import SUITES, Suite
from devstack.errors import UsageError

app = typer.Typer()

QUICK = "stream"
QUICK_FLOORS = {"bare_aiokafka": 0.5}
"""What `--quick` fails below: it is measured on machines that do other things too."""
QUICK_EVENTS, QUICK_ROUNDS, ROUNDS = 1_000_000, 5, 3


@app.command()
def bench(
    suite: Annotated[str | None, typer.Argument(help=f"One of {', '.join(SUITES)}; all by default.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report here.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Draw each suite's standings into this folder, as SVG.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help=f"Only {QUICK}, only beside the bare loop.")] = False,
    beside: Annotated[str | None, typer.Option(help="Only beside these contestants, by commas.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Each contestant's turns.")] = None,
    events: Annotated[int | None, typer.Option(min=1, help="Events of a turn; what one is, the suite says.")] = None,
    seed: Annotated[int, typer.Option(help="Of the events.")] = 1,
) -> None:
    """Measure the platform beside its peers: the same topic, the same work, the same results, in turns.

    The exit code is 0 only where every contestant came to the same results; with --quick, and ours is fast enough.
    """
    if suite is not None and suite not in SUITES:
        raise UsageError(f"there is no suite {suite!r}; there are: {', '.join(SUITES)}")
    if quick and (suite or QUICK, beside) != (QUICK, None):
        raise UsageError(f"--quick is {QUICK} beside {', '.join(QUICK_FLOORS)}: leave out the suite and --beside")
    console, found = Console(), dict[str, SuiteReport]()
    for folder in (json.parent if json else None, plots):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)  # before hours of work, not after
    asked = _asked(suite, beside, quick)
    for name in asked:
        if events is not None and not SUITES[name].least <= events <= SUITES[name].most:
            raise UsageError(f"--events of {name} is {SUITES[name].least:,} to {SUITES[name].most:,}")
    for name, others in asked.items():
        chosen = SUITES[name]
        found[name] = asyncio.run(
            chosen.run(
                events=events or (QUICK_EVENTS if quick else chosen.events),
                rounds=rounds or (QUICK_ROUNDS if quick else ROUNDS),
                seed=seed,
                names=others,
                say=lambda line: console.print(line, style="dim", highlight=False),
            )
        )
        for table in _tables(found[name], chosen):
            console.print(table)
        if plots is not None and found[name].standings:
            (plots / f"{name}.svg").write_text(svg(found[name]))
        if json is not None:  # after each suite: what was measured is kept, whatever comes after it
            report = found[name] if suite else found
            json.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    problems = [problem for report in found.values() for problem in report.problems]
    problems += _below_floors(found[QUICK]) if quick else []
    for problem in problems:
        console.print(f"[bold red]problem:[/] {problem}", highlight=False)
    raise typer.Exit(1 if problems else 0)


def _asked(suite: str | None, beside: str | None, quick: bool) -> dict[str, list[str]]:
    """Suite -> contestants. *Raises* `UsageError` where one is not in the suite."""
    if quick:
        return {QUICK: [*QUICK_FLOORS]}
    asked = {name: [*SUITES[name].beside] for name in ([suite] if suite else SUITES)}
    if beside is None:
        return asked
    named = set(beside.split(","))
    if unknown := sorted(named - {contestant for others in asked.values() for contestant in others}):
        there = "; ".join(f"{name}: {', '.join(others)}" for name, others in asked.items())
        raise UsageError(f"there is no contestant {', '.join(unknown)}; there are: {there}")
    chosen = {name: [one for one in others if one in named] for name, others in asked.items()}
    return {name: others for name, others in chosen.items() if others}


def _below_floors(found: SuiteReport) -> list[str]:
    return [
        f"{found.ratios[name]:.2f} × {name} is below {floor}"
        for name, floor in QUICK_FLOORS.items()
        if found.ratios[name] < floor
    ]


def _tables(found: SuiteReport, suite: Suite) -> Iterator[Table]:
    if found.standings:
        yield _standings(found, suite)
    others = {name: _ratio(name, found, suite) for name in found.ratios if name not in found.standings}
    for name, value in found.figures.items():
        others[name] = _marked(f"{value:,.4g}", suite.met(name, value)), suite.goal(name)
    if others:
        table = Table(Column("figure", no_wrap=True), "", "goal")
        for name, (text, goal) in others.items():
            table.add_row(name, text, goal)
        yield table


def _standings(found: SuiteReport, suite: Suite) -> Table:
    table = Table("contestant", "events per CPU-second", "events per second", "peak MiB", "ours by theirs", "goal")
    for name, standing in found.standings.items():
        numbers = (f"{standing.events_per_cpu_s:,}", f"{standing.events_per_s:,}", f"{standing.peak_mib:,.0f}")
        table.add_row(name, *numbers, *_ratio(name, found, suite))
    return table


def _ratio(name: str, found: SuiteReport, suite: Suite) -> tuple[str, str]:
    """Ours by theirs, and what it shall be; nothing for ourselves."""
    if name not in found.ratios:
        return "", ""
    ratio, (least, most) = found.ratios[name], found.spread[name]
    return _marked(f"{ratio:.3g} ({least:.3g} to {most:.3g})", suite.met(name, ratio)), suite.goal(name)


def _marked(text: str, met: bool) -> str:
    return text if met else f"[yellow]{text}[/]"
