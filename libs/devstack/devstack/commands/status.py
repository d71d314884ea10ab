"""`dataforge status`."""

import asyncio
import logging
import sys
from datetime import timedelta

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from devstack.commands.options import Data, Json, data_dir
from devstack.errors import StackError
from devstack.model import read_state
from devstack.paths import StackPaths
from devstack.status import StackStatus, observe

app = typer.Typer()
_COLOURS = {"ready": "green", "starting": "yellow", "backoff": "red", "not ready": "red", "degraded": "yellow"}


@app.command()
def status(data: Data = None, json: Json = False) -> None:
    """What runs, where, since when, how large, how far behind. Exit code 1 where not everything is ready."""
    paths = StackPaths(data_dir(data))
    state = read_state(paths.state)
    if state is None:
        raise StackError(f"no stack has run on {paths.data}: `dataforge up` starts one")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    observed = asyncio.run(observe(state, paths.data))
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(observed)).decode() + "\n")
    else:
        _show(observed, Console())
    if observed.phase != "ready":
        raise typer.Exit(1)


def _show(observed: StackStatus, console: Console) -> None:
    console.print(
        f"[bold]{_coloured(observed.phase)}[/], data in {observed.data}, supervisor {observed.supervisor_pid}"
    )
    if observed.error:
        console.print(f"[red]{observed.error}[/]")
    programs = Table("name", "state", "pid", "ports", "uptime", "MiB", "restarts", "detail")
    for p in observed.programs:
        ports = " ".join(f"{name} {port}" for name, port in p.ports.items())
        up = str(timedelta(seconds=int(p.uptime_s)))
        programs.add_row(
            p.name, _coloured(p.state), str(p.pid or ""), ports, up, f"{p.memory_mib:.0f}", str(p.restarts), p.detail
        )
    console.print(programs)
    if observed.lag:
        lag = Table("group", "topic", "partition", "committed", "end", "lag")
        for row in observed.lag:
            lag.add_row(row.group, row.topic, str(row.partition), str(row.committed), str(row.end), str(row.lag))
        console.print(lag)
    for restart in observed.restarts[-5:]:
        console.print(
            f"{restart.at} {restart.name}: pid {restart.old_pid} {restart.reason}, now {restart.new_pid}",
            highlight=False,
        )


def _coloured(state: str) -> str:
    colour = _COLOURS.get(state, "white")
    return f"[{colour}]{state}[/{colour}]"
