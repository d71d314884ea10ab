"""`dataforge demo`."""

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.panel import Panel

from devstack import domains
from devstack.commands import replaying
from devstack.commands.lake import JOBS
from devstack.commands.options import Data
from devstack.commands.replaying import horizons, pace, share
from devstack.commands.up import optional
from devstack.demo.lake import Judge, judged
from devstack.demo.once import Once
from devstack.demo.report import Report
from devstack.demo.show import report_table
from devstack.errors import UsageError
from devstack.lake.jobs import environment, jars, python
from devstack.model import LAKE, SERVICES, Endpoints, State, read_running
from devstack.oracle.log import end_offsets
from devstack.paths import StackPaths, repo_root
from devstack.replay.plan import Faults, Horizons
from devstack.replay.purchases import read_purchases
from devstack.replay.replay import TOPIC, Options, replay
from devstack.replay.send import make_producer
from devstack.settings import default_data_dir, inherited
from devstack.stack import Stack

app = typer.Typer()

LIVE_RATE = 200


@app.command()
def demo(
    once: Annotated[bool, typer.Option(help="Replay, wait, compare with the oracle, report, stop.")] = False,
    events: Annotated[int | None, replaying.EVENTS] = None,
    rate: Annotated[str | None, replaying.RATE] = None,
    seed: Annotated[int, replaying.SEED] = 1,
    duplicates: Annotated[str, replaying.DUPLICATES] = "0%",
    late: Annotated[str, replaying.LATE] = "0%",
    out_of_order: Annotated[str, replaying.OUT_OF_ORDER] = "0%",
    malformed: Annotated[str, replaying.MALFORMED] = "0%",
    json: Annotated[Path | None, typer.Option(help="Write the report here.")] = None,
    keep: Annotated[bool, typer.Option(help="Leave the stack running.")] = False,
    with_: Annotated[
        list[str] | None, typer.Option("--with", help="Run this too: lake, and with --once hold the KPIs against it.")
    ] = None,
    latency: Annotated[bool, typer.Option(help="Measure latency: 65 s at 1,000 events a second.")] = True,
    data: Data = None,
) -> None:
    """Start everything, replay real purchases, and show the KPIs move; with --once prove that they are right.

    With --once the exit code is 0 only where every count and every window agrees with the oracle.
    """
    options = Options(
        rate=pace(rate),
        faults=Faults(share(duplicates), share(late), share(out_of_order), share(malformed)),
        seed=seed,
    )
    more = optional(with_ or [])
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)  # before minutes of work, not after
    console = Console()
    folder, made = _folder(data, fresh=once)
    _demand_free(folder)
    with console.status("starting the stack") as status:
        stack = Stack.start(
            folder,
            domains.checked([repo_root() / "domains" / "retail"]),
            services=(*SERVICES, *more),
            usual_ports=True,
            tied=not keep,
            timeout_s=300.0,
            fetching=lambda done, total: status.update(f"fetching the servers, once: {done} of {total} files"),
            on_state=lambda state: status.update(_waiting(state)),
        )
    try:
        if once:
            judge = _judge(stack) if LAKE in more else None
            report = _once(stack.endpoints(), options, events, latency, judge, console)
            if json is not None:
                json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
            console.print(report_table(report))
            agrees = report.agrees
        else:
            console.print(_address(stack.endpoints()))
            asyncio.run(_live(stack.endpoints(), horizons(), options, events, rate))
            agrees = True
    except KeyboardInterrupt:
        agrees = not once
    finally:
        if not keep:
            with console.status("stopping the stack"):
                stack.stop()
    if keep:
        console.print(f"the stack goes on: dataforge status --data {folder}, dataforge down --data {folder}")
    elif agrees and once and made:
        shutil.rmtree(folder)
    else:
        console.print(f"data and logs are in {folder}")
    sys.exit(0 if agrees else 1)


def _judge(stack: Stack) -> Judge:
    jobs = [job for job in ("all", "correct") if job in JOBS]
    env = environment(stack.endpoints(), stack.state().domains, stack.paths, jars(), inherited())
    return lambda: judged(jobs, env, python())


def _folder(given: Path | None, *, fresh: bool) -> tuple[Path, bool]:
    """Where the stack works, and whether it is the demo that makes it. A proof starts from nothing: the usual folder if
    it is unused, else a new one.
    """
    folder = given.expanduser().absolute() if given else default_data_dir()
    used = folder.exists() and any(folder.iterdir())
    if not fresh or not used:
        return folder, not folder.exists()
    if given:
        raise UsageError(f"{folder} is not empty: --once counts from nothing, give another folder")
    return Path(tempfile.mkdtemp(prefix="dataforge-demo-")), True


def _demand_free(folder: Path) -> None:
    """*Raises* `UsageError` where a stack runs: a demo would bring it to its own domain, and stop it at its end."""
    if read_running(StackPaths(folder).state) is not None:
        hint = "`dataforge replay retail` sends purchases into it, `--data FOLDER` makes another"
        raise UsageError(f"a stack runs on {folder} already: {hint}")


def _waiting(state: State) -> str:
    missing = [p.name for p in state.programs if p.state != "ready"]
    return f"waiting for {', '.join(missing) or 'the supervisor'}"


def _once(
    reach: Endpoints, options: Options, events: int | None, latency: bool, judge: Judge | None, console: Console
) -> Report:
    def progress(what: str, count: int) -> AbstractContextManager[Callable[[int], None]]:
        return replaying.sending(console, count, what)

    async def run() -> Report:
        if any((await end_offsets(reach.kafka, TOPIC)).values()):
            raise UsageError(f"{TOPIC} holds records already: --once counts from nothing, give another --data folder")
        return await Once(reach, horizons(), options, progress, judge).run(events, with_latency=latency)

    return asyncio.run(run())


async def _live(reach: Endpoints, promised: Horizons, options: Options, events: int | None, rate: str | None) -> None:
    """Replay again and again, each pass as new events, until Ctrl-C."""
    purchases, pass_ = read_purchases(events), int(time.time())
    per_s = (options.rate or LIVE_RATE) if rate != "max" else None
    async with make_producer(reach.kafka) as producer:
        while True:
            await replay(producer, purchases, replace(options, rate=per_s, pass_=pass_), promised)
            pass_ += 1


def _address(reach: Endpoints) -> Panel:
    return Panel(
        f"[bold]{reach.api_url}/#token={reach.api_token}[/]\n\n"
        "KPIs of real grocery purchases, as they happen. Ctrl-C stops everything.",
        title="live page",
        expand=False,
    )
