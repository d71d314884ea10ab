"""`dataforge bench`."""

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from devstack.bench.contest import SuiteReport
from devstack.bench.stream import stream
from devstack.errors import UsageError

app = typer.Typer()

SUITES = ("stream",)
QUICK_FLOORS = {"bare_aiokafka": 0.5}
"""What `--quick` fails below: it is measured on machines that do other things too."""


@app.command()
def bench(
    suite: Annotated[str | None, typer.Argument(help=f"One of {', '.join(SUITES)}; all by default.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report here.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few events, few rounds; fails below a floor.")] = False,
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
    found = asyncio.run(
        stream(
            events=events or (400_000 if quick else 2_000_000),
            rounds=rounds or (3 if quick else 5),
            seed=seed,
            say=lambda line: console.print(line, style="dim", highlight=False),
        )
    )
    console.print(_table(found))
    problems = [*found.problems, *(_below_floors(found) if quick else ())]
    for problem in problems:
        console.print(f"[bold red]problem:[/] {problem}", highlight=False)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(found if suite else {found.suite: found})))
    raise typer.Exit(1 if problems else 0)


def _below_floors(found: SuiteReport) -> list[str]:
    return [
        f"{found.ratios[name].median:.2f} × {name} is below {floor}"
        for name, floor in QUICK_FLOORS.items()
        if found.ratios[name].median < floor
    ]


def _table(found: SuiteReport) -> Table:
    table = Table("contestant", "events per CPU-second", "events per second", "peak MiB", "ours by theirs")
    for name, standing in found.standings.items():
        ratio = found.ratios.get(name)
        table.add_row(
            name,
            f"{standing.events_per_cpu_s:,}",
            f"{standing.events_per_s:,}",
            f"{standing.peak_mib:,.0f}",
            f"{ratio.median:.2f} ({ratio.least:.2f} to {ratio.most:.2f})" if ratio else "",
        )
    return table
