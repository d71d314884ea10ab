"""`dataforge ledger`, `dataforge ledger verify`."""

import asyncio
import logging
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from devstack.commands.options import Data, Json, data_dir
from devstack.errors import StackError
from devstack.oracle.api import Api, NoAnswer
from devstack.oracle.verify.findings import CHECKS, Report
from devstack.stack import Stack

app = typer.Typer(invoke_without_command=True)

_Domain = Annotated[str | None, typer.Option(help="One domain; all of the stack's where left out.")]
_SHOWN = 10


@app.callback()
def ledger(
    context: typer.Context,
    since: Annotated[str | None, typer.Option(help="Minutes from then on: an instant, or how long ago (15m).")] = None,
    domain: _Domain = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """What became of every record, and whether it adds up. Exit code 0: balanced; 1: not."""
    if context.invoked_subcommand is not None:
        return
    reach = Stack.attach(data_dir(data)).endpoints()
    try:
        with Api(reach.api_url, reach.api_token) as api:
            names = [domain] if domain else [d["name"] for d in msgspec.json.decode(api.get("/metrics"))["domains"]]
            answers = [msgspec.json.decode(api.get("/ledger", domain=name, since=since)) for name in names]
    except NoAnswer as error:
        raise StackError(f"the ledger does not answer: {error}") from error
    if json:
        _write(answers[0] if domain else answers)
    else:
        for answer in answers:
            show_ledger(answer, Console(), datetime.now(UTC))
    if not all(answer["balanced"] for answer in answers):
        raise typer.Exit(1)


def show_ledger(answer: dict[str, Any], console: Console, now: datetime) -> None:
    """One domain: per event a line for each partition, then what does not balance."""
    for event in answer["events"]:
        table = Table(title=event["event"], box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for name in ("#", "received", "landed", "valid", "rejected", "counted", "dup", "late", "flight"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("newest", no_wrap=True)
        table.add_column("", no_wrap=True, min_width=2)
        for partition in event["partitions"]:
            totals, minutes = partition["totals"], partition["minutes"]
            rejected = sum(totals["quarantined"].values()) + sum(totals["undecodable"].values())
            table.add_row(
                str(partition["partition"]),
                *(_number(totals[name]) for name in ("received", "landed", "valid")),
                _number(rejected),
                *(_number(totals[name]) for name in ("counted", "duplicate", "late")),
                _number(partition["in_flight"]),
                _ago(minutes[-1]["minute"], now) if minutes else "none yet",
                "[green]ok[/]" if totals["balanced"] else "[red]NO[/]",
            )
        console.print(table)
    for event in answer["events"]:
        for problem in event["problems"]:
            age = timedelta(seconds=int(problem["age_s"]))
            console.print(f"[red]{event['event']}/{problem['partition']}[/]: {problem['problem']}, for {age}")
        for partition in event["partitions"]:
            wrong = [minute for minute in partition["minutes"] if not minute["balanced"]]
            for minute in wrong[:_SHOWN]:
                place = f"{event['event']}/{partition['partition']}"
                console.print(
                    f"[red]{place}[/] {minute['minute']} ({_ago(minute['minute'], now)}):"
                    f" landed {_number(minute['landed'])}, judged {minute['judged']}, valid {minute['valid']},"
                    f" counted {minute['counted']}, duplicate {minute['duplicate']}, late {minute['late']}"
                )
            if len(wrong) > _SHOWN:
                console.print(f"… and {len(wrong) - _SHOWN} more minutes of {event['event']}/{partition['partition']}")
    for away in answer["away"]:
        console.print(f"[yellow]not asked[/]: {away}")
    if not answer["balanced"]:
        console.print(f"`dataforge ledger verify --domain {answer['domain']}` names the first record that does not fit")


@app.command()
def verify(domain: _Domain = None, data: Data = None, json: Json = False) -> None:
    """Count everything again from landing chain, Kafka, judged log and Redis; name the first record that does not fit.

    Works while traffic flows: up to where the stages were when it began. Exit code 0: all fits; 1: something does not.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    stack = Stack.attach(data_dir(data))
    reach, folders = stack.endpoints(), stack.state().domains
    # imported late: `ledger` itself needs neither contracts nor clients
    from devstack.clients import asking
    from devstack.verifying import domains_of, verify_domain

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("verifying")

        def on_progress(place: str, done: int, total: int) -> None:
            progress.update(task, description=f"verifying {place}", completed=done, total=max(total, 1))

        with asking("a server of the stack"):
            reports = [asyncio.run(verify_domain(reach, one, on_progress)) for one in domains_of(folders, domain)]
    if json:
        _write([{**msgspec.to_builtins(report), "clean": report.clean} for report in reports])
    else:
        for report in reports:
            show_report(report, Console())
    if not all(report.clean for report in reports):
        raise typer.Exit(1)


def show_report(report: Report, console: Console) -> None:
    """One domain: a line per check, then the first misfit of each partition and check."""
    table = Table("check", "partitions", "looked at", "misfits", title=report.domain)
    for name in CHECKS:
        checks = [check for check in report.checks if check.name == name]
        misfits = sum(check.misfits for check in checks)
        looked_at = sum(check.looked_at for check in checks)
        table.add_row(name, str(len(checks)), f"{looked_at:,}", f"[red]{misfits:,}[/]" if misfits else "[green]none[/]")
    console.print(table)
    for check in report.checks:
        if check.first is not None:
            first = check.first
            place = f"{first.topic}/{first.partition}/{first.offset}"
            console.print(f"[red]{check.name}[/]: {place}: {first.what}", highlight=False)
            console.print(f"    expected {first.expected}\n    found    {first.found}", highlight=False, markup=False)
        for note in check.notes:
            console.print(f"[yellow]{check.name}[/]: {check.topic}/{check.partition}: {note}", highlight=False)


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _ago(minute: str, now: datetime) -> str:
    seconds = max(0, int((now - datetime.fromisoformat(minute)).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "now"


def _write(document: Any) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document)).decode() + "\n")
