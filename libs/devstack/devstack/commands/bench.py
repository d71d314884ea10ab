"""`dataforge bench`."""

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from devstack.bench.contest import SuiteReport
from devstack.bench.plot import svg
from devstack.bench.stream import SHARES, stream
from devstack.errors import UsageError

app = typer.Typer()

SUITES = ("stream",)
QUICK_FLOORS = {"bare_aiokafka": 0.5}
"""What `--quick` fails below: it is measured on machines that do other things too."""


@app.command()
def bench(
    suite: Annotated[str | None, typer.Argument(help=f"One of {', '.join(SUITES)}; all by default.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the standings here, as SVG.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few events, few rounds; fails below a floor.")] = False,
    beside: Annotated[str | None, typer.Option(help=f"Some of {', '.join(SHARES)}; all by default.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Each contestant's turns.")] = None,
    events: Annotated[int | None, typer.Option(min=1_000, help="Events of a turn.")] = None,
    seed: Annotated[int, typer.Option(help="Of the events.")] = 1,
) -> None:
    """Measure the platform beside its peers: the same topic, the same work, the same results, in turns.

    The exit code is 0 only where every contestant counted the same.
    """
    console = Console()
    if suite is not None and suite not in SUITES:
        raise UsageError(f"there is no suite {suite!r}; there are: {', '.join(SUITES)}")
    names = beside.split(",") if beside else [*QUICK_FLOORS] if quick else [*SHARES]
    if unknown := sorted(set(names) - set(SHARES)):
        raise UsageError(f"there is no contestant {', '.join(unknown)}; there are: {', '.join(SHARES)}")
    found = asyncio.run(
        stream(
            events=events or (1_000_000 if quick else 2_000_000),
            rounds=rounds or (3 if quick else 5),
            seed=seed,
            names=names,
            say=lambda line: console.print(line, style="dim", highlight=False),
        )
    )
    console.print(_table(found))
    problems = [*found.problems, *(_below_floors(found) if quick else ())]
    for problem in problems:
        console.print(f"[bold red]problem:[/] {problem}", highlight=False)
    if plot is not None:
        plot.write_text(svg(found))
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(found if suite else {found.suite: found})))
    raise typer.Exit(1 if problems else 0)


def _below_floors(found: SuiteReport) -> list[str]:
    at_best = {name: found.at_best(name) for name in QUICK_FLOORS if name in found.rounds}
    return [
        f"{ratio:.2f} × {name} at best is below {QUICK_FLOORS[name]}"
        for name, ratio in at_best.items()
        if ratio < QUICK_FLOORS[name]
    ]


def _table(found: SuiteReport) -> Table:
    table = Table("contestant", "events per CPU-second", "events per second", "peak MiB", "ours by theirs")
    for name, standing in found.standings.items():
        spread = found.spread.get(name)
        table.add_row(
            name,
            f"{standing.events_per_cpu_s:,}",
            f"{standing.events_per_s:,}",
            f"{standing.peak_mib:,.0f}",
            f"{found.ratios[name]:.3g} ({spread[0]:.3g} to {spread[1]:.3g})" if spread else "",
        )
    return table
