"""`dataforge lake run`, `status`, `agree`: the lakehouse's jobs beside a running stack."""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from devstack.commands.options import Data, Json, data_dir
from devstack.errors import StackError, UsageError
from devstack.lake.jobs import environment, jars, lake, python
from devstack.settings import inherited
from devstack.stack import Stack

app = typer.Typer(no_args_is_help=True)

JOBS = ("bronze", "silver", "gold", "lookups", "export", "all")
_Domain = Annotated[str | None, typer.Option(help="One domain; all of the stack's where left out.")]


@app.callback()
def group() -> None:
    """The lakehouse: bronze, silver and gold tables, made from what was landed."""


@app.command()
def run(
    job: Annotated[str, typer.Argument(help=f"One of {', '.join(JOBS)}; all: bronze, silver, gold, lookups.")],
    domain: _Domain = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Bring the tables to where the stack is now. Running it again adds nothing twice."""
    if job not in JOBS:
        raise UsageError(f"there is no job {job!r}; there are: {', '.join(JOBS)}")
    answer = _asked(["run", job], domain, data)
    if json:
        sys.stdout.write(answer)
        return
    table = Table("event", "job", "did")
    for event, jobs in msgspec.json.decode(answer).items():
        for name, did in jobs.items():
            table.add_row(event, name, ", ".join(f"{number:,} {what}" for what, number in did.items()))
    Console().print(table)


@app.command()
def status(domain: _Domain = None, data: Data = None, json: Json = False) -> None:
    """What is in the tables, and how much of the judged log."""
    answer = _asked(["status"], domain, data)
    if json:
        sys.stdout.write(answer)
        return
    table = Table("event", "layer", "rows", "last commit", "next judged offset by partition")
    for row in msgspec.json.decode(answer):
        positions = " ".join(f"{partition}:{offset:,}" for partition, offset in row["positions"].items())
        table.add_row(row["event"], row["layer"], f"{row['records']:,}", row["committed"] or "none", positions)
    Console().print(table)


@app.command()
def agree(
    domain: _Domain = None,
    data: Data = None,
    json: Annotated[Path | None, typer.Option(help="Write the report here.")] = None,
) -> None:
    """Hold every gold window against the live numbers. Exit code 0: all are equal or explained; 1: some are not."""
    answer = _asked(["agree"], domain, data, fails_by_answering=True)
    report = msgspec.json.decode(answer)
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_text(answer)
    _show(report, Console(highlight=False))
    if report["unexplained"]:
        raise typer.Exit(1)


def _show(report: dict[str, Any], console: Console) -> None:
    names = ("compared", "equal", "corrected", "explained", "unexplained")
    console.print(", ".join(f"{report[name]:,} {name}" for name in names))
    for one in report["first"]:
        labels = ", ".join(map(str, one["labels"])) or "the total"
        why = "late events or far repeats" if one["explained"] else "[red]unexplained[/]"
        console.print(
            f"{one['metric']} {one['window']} {one['start']} {labels}: live {one['live']}, lake {one['lake']}; {why}",
            soft_wrap=True,
        )


def _asked(arguments: list[str], domain: str | None, data: Path | None, *, fails_by_answering: bool = False) -> str:
    """What the lake answers. *Raises* `StackError` where it does not."""
    stack = Stack.attach(data_dir(data))
    interpreter = python()
    with Console(stderr=True).status("fetching the lake's jars"):
        class_path = jars()
    env = environment(stack.endpoints(), stack.state().domains, stack.paths, class_path, inherited())
    ended = lake([*arguments, *(["--domain", domain] if domain else [])], env, interpreter)
    if ended.returncode and not (fails_by_answering and ended.stdout):
        raise StackError("the lake's job failed: its last words are above")
    return ended.stdout
