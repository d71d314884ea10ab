"""`dataforge lake nightly` and `dataforge lake alert`: the lake's pipelines, and what is said of them."""

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from dataforge.errors import DataForgeError

from devstack.commands.options import Bootstrap, Data, data_dir, kafka_of
from devstack.errors import StackError, UsageError
from devstack.pipelines import alert as alerts
from devstack.pipelines.report import Report, StepReport
from devstack.pipelines.run import Run, chosen, planned
from devstack.pipelines.show import plan_table, shown
from devstack.settings import inherited, pipelines_file
from devstack.stack import Stack


def nightly(
    pipeline: Annotated[str, typer.Option(help="Which one of orchestration/pipelines.yaml.")] = "nightly",
    begin: Annotated[
        str | None, typer.Option("--from", metavar="STEP", help="Begin here; what comes before counts as done.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show the steps in their order, and do nothing.")] = False,
    data: Data = None,
    json: Annotated[Path | None, typer.Option(help="Write the report here.")] = None,
) -> None:
    """Run a pipeline of the lake: its steps in order, tried again where they fail, an alert where that does not help.

    Exit code 0: every step was done; 1: some were not.
    """
    wanted, console = chosen(pipeline, pipelines_file()), Console()
    report = planned(wanted, begin)
    if plan:
        console.print(plan_table(wanted))
        return
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)  # before hours of work, not after
    stack = Stack.attach(data_dir(data))
    with shown(console, wanted, report) as watch:
        Run(wanted, stack.paths, inherited(), watch).happen(report)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    _tell(report, stack.endpoints().kafka, console)
    if not report.passed:
        raise typer.Exit(1)


def alert(
    pipeline: Annotated[str, typer.Argument(help="Which one of orchestration/pipelines.yaml.")],
    failed: Annotated[str | None, typer.Option(metavar="STEP", help="Raise it: this step failed.")] = None,
    settled: Annotated[bool, typer.Option("--settled", help="Clear it, if it stands: a run went through.")] = False,
    attempts: Annotated[int, typer.Option(help="How often the step was tried.")] = 1,
    said: Annotated[str, typer.Option(help="Its last words.")] = "",
    log: Annotated[str, typer.Option(help="Where all it said can be read.")] = "",
    bootstrap: Bootstrap = None,
    data: Data = None,
) -> None:
    """Raise or clear the alert of a pipeline that something else than `lake nightly` runs, as Airflow does."""
    if (failed is None) != settled:
        raise UsageError("say either --failed STEP or --settled")
    kafka, name = kafka_of(bootstrap, data), chosen(pipeline, pipelines_file()).name
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    if failed is None:
        asyncio.run(alerts.settle(kafka, name))
        return
    step = StepReport(failed, (), "failed", attempts, said=said, log=log)
    asyncio.run(alerts.send(kafka, alerts.failure(name, [step], [], alerts.now_ms())))


def _tell(report: Report, kafka: str, console: Console) -> None:
    """On alerts.v1. What a run did stays done where that is away: it is said here then."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    due = alerts.outcome(report, alerts.now_ms())
    if due is not None:
        console.print(f"[red]{escape(due.message)}[/]\n{escape(due.what_to_do)}", highlight=False, soft_wrap=True)
    try:
        if not kafka:
            raise StackError("this stack runs no Kafka")
        asyncio.run(alerts.send(kafka, due) if due is not None else alerts.settle(kafka, report.pipeline))
    except DataForgeError as error:
        console.print(f"[yellow]alerts.v1 does not know: {escape(str(error))}[/]", highlight=False, soft_wrap=True)
