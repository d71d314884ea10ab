"""`dataforge domain check`: what is wrong with a domain folder, and what it would become."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dataforge.contracts.load import load_domain
from dataforge.contracts.model import Domain
from dataforge.contracts.problems import DomainError
from dataforge.kpi.catalogue import windows_text

app = typer.Typer(no_args_is_help=True)


@app.callback()
def domain() -> None:
    """Domain folders: contract, rules, lookups and metrics as data."""


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="The domain folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Say what is wrong with a domain folder, by file and line. Exits 0 where nothing is, else 1."""
    try:
        found = load_domain(folder, queries=True)
    except DomainError as error:
        if as_json:
            shown = [{"file": str(p.file), "line": p.line, "message": p.message} for p in error.problems]
            typer.echo(json.dumps({"ok": False, "problems": shown}))
        else:
            for problem in error.problems:
                typer.echo(str(problem), err=True)
            count = len(error.problems)
            typer.echo(
                f"{count} {'problem' if count == 1 else 'problems'}; docs/specs/domain.md is the grammar", err=True
            )
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(
            json.dumps({"ok": True, "name": found.name, "topics": _topics(found), "queries": list(found.queries)})
        )
    else:
        _show(found)


def _topics(found: Domain) -> list[str]:
    contracts = [event.contract for event in found.events]
    return [topic for c in contracts for topic in (c.raw_topic, c.judged_topic, c.quarantine_topic)]


def _show(found: Domain) -> None:
    console = Console(highlight=False)
    console.print(f"[bold]{found.name}[/] can be used: {escape(found.description or 'no description')}")
    for event in found.events:
        console.print(f"\nproduce to [bold]{event.contract.raw_topic}[/] ({found.partitions} partitions)")
        table = Table("metric", "measure", "by", "windows", box=None)
        for metric in event.metrics.values():
            by = "; ".join(",".join(names) or "total" for names in metric.by)
            table.add_row(metric.name, metric.measure.kind.value, by, " ".join(windows_text(metric)))
        console.print(table if event.metrics else "no metrics: events are landed and judged")
    if found.queries:
        table = Table("query", "asks for", "answers", box=None)
        for query in found.queries.values():
            table.add_row(query.name, ", ".join(query.parameters), escape(query.description))
        console.print("\n", table)
