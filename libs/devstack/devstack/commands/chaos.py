"""`dataforge chaos`."""

import asyncio
import random
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from devstack import domains
from devstack.chaos.director import Director
from devstack.chaos.fault import Kind
from devstack.chaos.kinds import KINDS
from devstack.chaos.report import Report
from devstack.chaos.run import Options, Run
from devstack.chaos.show import live, report_table, schedule_table
from devstack.chaos.watch import Watch
from devstack.commands.replaying import horizons
from devstack.errors import UsageError
from devstack.paths import repo_root

app = typer.Typer()


@app.command()
def chaos(
    minutes: Annotated[float, typer.Option(min=0.2, help="How long to replay.")] = 20.0,
    faults: Annotated[int, typer.Option(min=0, help="How many faults to inject meanwhile.")] = 100,
    seed: Annotated[int | None, typer.Option(help="Of the schedule and the data; a new one by default.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report here.")] = None,
    kinds: Annotated[str | None, typer.Option(metavar="KIND,...", help="Only these; `--plan` shows all.")] = None,
    rate: Annotated[float, typer.Option(min=1, help="Events a second.")] = 840.0,
    events: Annotated[
        int | None, typer.Option(min=1, help="Purchases in all, spread evenly: instead of --rate.")
    ] = None,
    max_recovery: Annotated[float, typer.Option(metavar="SECONDS", help="A slower recovery is a failure.")] = 15.0,
    plan: Annotated[bool, typer.Option("--plan", help="Show the schedule and the kinds, and do nothing.")] = False,
    keep: Annotated[bool, typer.Option(help="Keep data and logs also where all is well.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="An empty folder for the stack's data and logs, kept; a temporary one by default."),
    ] = None,
) -> None:
    """Break a stack of its own in every way while events flow; prove that nothing was lost or counted twice.

    The exit code is 0 only where every fault happened, every stage came back in time, and the oracle finds nothing
    lost, doubled or wrong. The same seed gives the same events and the same faults.
    """
    console = Console()
    drawn = seed if seed is not None else random.SystemRandom().randrange(10**6)
    chosen, unavailable = _available(kinds)
    options = Options(minutes, faults, drawn, chosen, events / minutes / 60 if events else rate, max_recovery)

    def show(director: Director, watch: Watch) -> AbstractContextManager[None]:
        return live(console, faults, director, watch)

    run = Run(options, Path(domains.checked([repo_root() / "domains" / "retail"])[0]), horizons(), show)
    again = f"dataforge chaos --minutes {minutes:g} --faults {faults} --seed {drawn} --rate {options.rate:.10g}"
    again += f" --max-recovery {max_recovery:g}" + (f" --kinds {kinds}" if kinds else "")
    if plan:
        console.print(schedule_table(run.planned()))
        console.print(f"kinds: {', '.join(KINDS)}", highlight=False)
        for kind, why in unavailable.items():
            console.print(f"unavailable: {kind}: {why}", highlight=False)
        console.print(again, highlight=False, soft_wrap=True)
        return
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)  # before minutes of work, not after
    folder = _folder(data)
    console.print(f"seed {drawn}: {faults} faults in {minutes:g} minutes; logs in {folder / 'logs'}", highlight=False)
    report = msgspec.structs.replace(asyncio.run(run.happen(folder)), unavailable=unavailable, repeat=again)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    console.print(report_table(report))
    _leave(console, report, folder, keep=keep or data is not None)
    sys.exit(0 if report.passed else 1)


def _available(asked: str | None) -> tuple[Mapping[str, Kind], dict[str, str]]:
    """What can be drawn here, and why the rest cannot. *Raises* `UsageError` for a kind that does not exist."""
    names = [name.strip() for name in asked.split(",")] if asked else list(KINDS)
    if unknown := [name for name in names if name not in KINDS]:
        raise UsageError(f"no such kind of fault: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    reasons = {name: KINDS[name].unavailable() for name in names}
    unavailable = {name: reason for name, reason in reasons.items() if reason}
    chosen = {name: KINDS[name] for name in names if name not in unavailable}
    if not chosen:
        raise UsageError(f"none of these faults can be brought about here: {unavailable}")
    return chosen, unavailable


def _folder(given: Path | None) -> Path:
    if given is None:
        return Path(tempfile.mkdtemp(prefix="dataforge-chaos-"))
    folder = given.expanduser().absolute()
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty: a proof starts from nothing, give another folder")
    return folder


def _leave(console: Console, report: Report, folder: Path, *, keep: bool) -> None:
    if not report.passed:
        console.print(f"the same again: {report.repeat}", highlight=False, soft_wrap=True)
    if report.passed and not keep:
        shutil.rmtree(folder)
    else:
        console.print(f"data and logs are in {folder}", highlight=False, soft_wrap=True)
