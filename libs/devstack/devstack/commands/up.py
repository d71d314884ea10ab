"""`dataforge up`."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from dataforge.contracts.problems import DomainError

from devstack import domains
from devstack.commands.options import Data, Json, data_dir
from devstack.errors import UsageError
from devstack.model import OPTIONAL, SERVERS, SERVICES, ServiceSpec, State, Wanted, read_running, read_wanted
from devstack.paths import StackPaths
from devstack.stack import Stack

app = typer.Typer()


@app.command()
def up(
    domain: Annotated[
        list[Path] | None, typer.Option(help="A domain folder; may be repeated. Default: the repo's domains/.")
    ] = None,
    data: Data = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Run only this server or service; may be repeated; `servers` is all of them."),
    ] = None,
    scale: Annotated[list[str] | None, typer.Option(help="Instances of a worker, e.g. aggregator=2.")] = None,
    with_: Annotated[
        list[str] | None, typer.Option("--with", help="Run this too: lake, its stream. May be repeated.")
    ] = None,
    foreground: Annotated[bool, typer.Option(help="Stay; Ctrl-C stops everything.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until everything answers.")] = 120.0,
    json: Json = False,
) -> None:
    """Start the stack and wait until all of it answers; a stack that runs is found, and given what it lacks."""
    paths = StackPaths(data_dir(data))
    before, running = read_wanted(paths.wanted), read_running(paths.state) is not None
    selection = select(before if running else None, only or [], scale or [], with_ or [])
    folders = domains.joined(
        before.domains if before else (), domains.checked(domain) if domain else domains.default_folders()
    )
    if folders:
        _check(folders)
    console = Console(stderr=json)
    with _progress(console) as progress:
        stack = Stack.start(
            paths.data,
            folders,
            servers=selection.servers,
            services=selection.services,
            usual_ports=True,
            tied=foreground,
            timeout_s=timeout,
            fetching=progress.fetched,
            on_state=progress.state,
        )
    after = stack.state()
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(after)).decode() + "\n")
    else:
        console.print(headline(before.domains if before and running else None, after.domains))
        console.print(_overview(after, paths.data, usual=data is None))
    if foreground:
        _stay(stack, console)


def _check(folders: Sequence[str]) -> None:
    """Says what is wrong with a domain before anything is started or disturbed. *Raises* `UsageError`."""
    from dataforge.contracts.load import load_domains  # late, as in `topics`

    try:
        load_domains([Path(folder) for folder in folders], queries=True)
    except DomainError as error:
        raise UsageError(f"nothing was started or changed, because of the domain:\n{error}") from error


@dataclass(frozen=True, slots=True)
class Selection:
    servers: tuple[str, ...]
    services: tuple[ServiceSpec, ...]


def select(running: Wanted | None, only: Sequence[str], scale: Sequence[str], also: Sequence[str] = ()) -> Selection:
    """What to run: all of it, or only what is named, and what is asked for `also`; a running stack keeps what it has.

    *Raises* `UsageError`.
    """
    known = (*SERVERS, *(s.name for s in SERVICES))
    for name in only:
        if name not in (*known, "servers"):
            raise UsageError(
                f"nothing is called {name}; there are {', '.join(known)}, and `servers` for the first four"
            )
    wanted_too = optional(also)
    counts = dict(_instances(item, known) for item in scale)
    chosen = set(only) or set(known)
    if "servers" in chosen:
        chosen |= set(SERVERS)
    have = {s.name: s for s in running.services} if running else {}
    servers = tuple(s for s in SERVERS if s in chosen or (running is not None and s in running.servers))
    chosen |= {spec.name for spec in wanted_too}
    specs = [have.get(s.name, s) for s in (*SERVICES, *OPTIONAL) if s.name in chosen or s.name in have]
    scaled = (msgspec.structs.replace(s, instances=counts.get(s.name, s.instances)) for s in specs)
    return Selection(servers, tuple(scaled))


def optional(names: Sequence[str]) -> list[ServiceSpec]:
    """What `--with` names. *Raises* `UsageError`."""
    known = {spec.name: spec for spec in OPTIONAL}
    for name in names:
        if name not in known:
            raise UsageError(f"--with takes {', '.join(known)}, not {name!r}")
    return [spec for name, spec in known.items() if name in names]


def _instances(item: str, known: Sequence[str]) -> tuple[str, int]:
    name, _, count = item.partition("=")
    if name not in known or name in SERVERS or not count.isdecimal() or not 1 <= int(count) <= 16:
        raise UsageError(f"--scale takes SERVICE=COUNT with a count of 1 to 16, not {item!r}")
    return name, int(count)


class _Progress:
    def __init__(self, status: Status) -> None:
        self._status = status

    def fetched(self, done: int, total: int) -> None:
        self._status.update(f"fetching the servers, once for this machine: {done} of {total} files")

    def state(self, state: State) -> None:
        waiting = [p.name for p in state.programs if p.state != "ready"]
        error = f" ({state.error})" if state.error else ""
        self._status.update(f"waiting for {', '.join(waiting) or 'the supervisor'}{error}")


@contextmanager
def _progress(console: Console) -> Iterator[_Progress]:
    with console.status("starting") as status:
        yield _Progress(status)


def headline(before: Sequence[str] | None, now: Sequence[str]) -> str:
    """`before`: the domains of the stack that ran already, if one did."""
    if before is None:
        return "[green]The stack is up.[/]"
    added = [escape(Path(folder).name) for folder in now if folder not in before]
    if added:
        return f"[green]The stack that ran was given[/] {', '.join(added)}."
    return "[green]A stack already runs[/] and has what was asked for."


def _overview(state: State, data: Path, *, usual: bool) -> Table:
    reach = state.endpoints
    of = "" if usual else escape(f" --data {data}")
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    rows = {
        "live page and REST": reach.api_url,
        "WebSocket": reach.ws_url,
        "API token": reach.api_token,
        "analyst's token": reach.analyst_token,
        "Kafka": reach.kafka,
        "Redis": reach.redis_url,
        "cache": reach.cache_url,
        "S3": f"{reach.s3_endpoint}/{reach.s3_bucket}" if reach.s3_endpoint else "",
        "S3 keys": f"{reach.s3_access_key} {reach.s3_secret_key}" if reach.s3_endpoint else "",
        "domains": "\n".join(state.domains),
        "next": f"dataforge status{of}\ndataforge logs NAME{of}\ndataforge down{of}",
    }
    for name, value in rows.items():
        if value:
            table.add_row(f"[bold]{name}[/]", value)
    return table


def _stay(stack: Stack, console: Console) -> None:
    """Until Ctrl-C, or until the stack is stopped from elsewhere."""
    console.print("Ctrl-C stops everything.")
    with stack:
        try:
            stack.wait_stopped()
        except KeyboardInterrupt:
            console.print("stopping")
