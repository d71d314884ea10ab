"""`dataforge lake …`: the lakehouse's jobs beside a running stack."""

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from devstack.commands.lake_prove import prove
from devstack.commands.nightly import alert, nightly
from devstack.commands.options import Data, Json, data_dir
from devstack.errors import UsageError
from devstack.lake.jobs import asked, beside, python
from devstack.lake.shown import shown
from devstack.stack import Stack

app = typer.Typer(no_args_is_help=True)
app.command()(nightly)
app.command()(alert)
app.command()(prove)

JOBS = (
    "bronze",
    "silver",
    "gold",
    "lookups",
    "correct",
    "quality",
    "export",
    "backfill",
    "compact",
    "expire",
    "orphans",
    "all",
)
_DAY = re.compile(r"\d{4}-\d\d-\d\d|\d{1,4}d")
_Domain = Annotated[str | None, typer.Option(help="One domain; all of the stack's where left out.")]


@app.callback()
def group() -> None:
    """The lakehouse: bronze, silver and gold tables, made from what was landed."""


@app.command()
def run(
    job: Annotated[str, typer.Argument(help=f"One of {', '.join(JOBS)}; all: bronze, silver, gold, lookups.")],
    domain: _Domain = None,
    since: Annotated[
        str | None, typer.Option(metavar="DAY", help="Backfill looks no further back: 2026-01-31, or 3d.")
    ] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Bring the tables to where the stack is now, keep them in order, or correct the live numbers by them.

    Running it again does nothing twice.
    """
    if job not in JOBS:
        raise UsageError(f"there is no job {job!r}; there are: {', '.join(JOBS)}")
    if since is not None and job != "backfill":
        raise UsageError(f"--since is for backfill; {job} takes all there is")
    if since is not None and not _DAY.fullmatch(since):
        raise UsageError(f"--since {since}: a day is 2026-01-31, or 3d for three days back")
    answer = _asked(["run", job, *(["--since", since] if since else [])], domain, data)
    if json:
        sys.stdout.write(answer)
        return
    table = Table("event", "job", "did")
    for event, jobs in msgspec.json.decode(answer).items():
        for name, did in jobs.items():
            table.add_row(event, name, ", ".join(f"{number:,} {what}" for what, number in did.items()))
    Console().print(table)


@app.command()
def stream(
    domain: _Domain = None,
    gold_every: Annotated[float | None, typer.Option(help="Bring gold along too, this often (s).")] = None,
    data: Data = None,
) -> None:
    """Follow the judged logs into bronze and silver, until Ctrl-C. Or have the stack run it: `up --with lake`."""
    interpreter, env = _reached(data)
    more = [*_of(domain), *(["--gold-every", str(gold_every)] if gold_every is not None else [])]
    command = [str(interpreter), "-m", "lake", "stream", *more]
    os.execve(interpreter, command, env)  # noqa: S606 - this process becomes it, and Ctrl-C is its own to hear


@app.command()
def status(domain: _Domain = None, data: Data = None, json: Json = False) -> None:
    """What is in the tables, how far behind the judged log, and how fast they grow."""
    answer = _asked(["status"], domain, data)
    if json:
        sys.stdout.write(answer)
        return
    table = Table("event", "layer", "rows", "last commit", "behind", "rows/s", "next judged offset by partition")
    for row in msgspec.json.decode(answer):
        positions = " ".join(f"{partition}:{offset:,}" for partition, offset in row["positions"].items())
        behind = "unknown" if row["lag"] is None else f"{row['lag']:,}"
        numbers = (f"{row['records']:,}", row["committed"] or "none", behind, f"{row['rows_per_s']:,.0f}")
        table.add_row(row["event"], row["layer"], *numbers, positions)
    Console().print(table)


@app.command("quality-docs")
def quality_docs(
    folder: Annotated[Path, typer.Argument(help="Where the pages go.")],
    most: Annotated[int, typer.Option(help="Reports of each event and kind, the newest.")] = 10,
    domain: _Domain = None,
    data: Data = None,
) -> None:
    """Pages for a browser: what quality.yaml expects of the lake, and what was found."""
    answer = _asked(["quality-docs", str(folder.absolute()), "--most", str(most)], domain, data)
    Console(highlight=False).print(f"open {msgspec.json.decode(answer)['page']}", soft_wrap=True)


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
        where = f"{one['metric']} {one['window']} {one['start']} {labels}: live {one['live']}, lake {one['lake']}"
        why = "late events, far repeats or label caps" if one["explained"] else "[red]unexplained[/]"
        console.print(f"{escape(where)}; {why}", soft_wrap=True)


def _asked(arguments: list[str], domain: str | None, data: Path | None, *, fails_by_answering: bool = False) -> str:
    """What the lake answers. *Raises* `StackError` where it does not."""
    interpreter, env = _reached(data)
    command, console = [*arguments, *_of(domain)], Console(stderr=True)
    if arguments[0] == "run" and console.is_terminal:
        with shown(console) as terminal:
            return asked([*command, "--progress"], env, interpreter, terminal.heard)
    return asked(command, env, interpreter, fails_by_answering=fails_by_answering)


def _of(domain: str | None) -> list[str]:
    return ["--domain", domain] if domain else []


def _reached(data: Path | None) -> tuple[Path, dict[str, str]]:
    """The lake's interpreter, and its environment beside a running stack. *Raises* `StackError`."""
    stack = Stack.attach(data_dir(data))
    with Console(stderr=True).status("fetching the lake's jars"):
        return python(), beside(stack)
