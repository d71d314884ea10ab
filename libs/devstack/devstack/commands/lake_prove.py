"""`dataforge lake prove`."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from devstack.commands import replaying
from devstack.commands.options import Data, data_dir
from devstack.commands.replaying import horizons, share
from devstack.errors import UsageError
from devstack.lake.jobs import beside, python
from devstack.lake.prove import Proof, Prove
from devstack.oracle.log import end_offsets
from devstack.replay.plan import Faults
from devstack.replay.replay import TOPIC, Options
from devstack.stack import Stack


def prove(
    events: Annotated[int | None, replaying.EVENTS] = None,
    seed: Annotated[int, replaying.SEED] = 1,
    duplicates: Annotated[str, replaying.DUPLICATES] = "1%",
    late: Annotated[str, replaying.LATE] = "2%",
    malformed: Annotated[str, replaying.MALFORMED] = "0%",
    kills: Annotated[bool, typer.Option(help="Kill jobs in the middle of their work, one of them in a commit.")] = True,
    data: Data = None,
    json: Annotated[Path | None, typer.Option(help="Write the proof here.")] = None,
) -> None:
    """Replay real purchases into a stack that holds none, and hold every row of the lake against an oracle.

    The oracle reads the tables by DuckDB alone and shares no code with the platform. The exit code is 0 only where
    every row of bronze, silver and gold is equal, to the cent, and `agree` explains every window.
    """
    console, stack = Console(highlight=False), Stack.attach(data_dir(data))
    reach, interpreter = stack.endpoints(), python()
    with console.status("fetching the lake's jars"):
        env = beside(stack)
    if any(asyncio.run(end_offsets(reach.kafka, TOPIC)).values()):
        raise UsageError(f"{TOPIC} holds records already: a proof counts from nothing, start a stack in another folder")
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)  # before minutes of work, not after

    def progress(what: str, count: int) -> AbstractContextManager[Callable[[int], None]]:
        return replaying.sending(console, count, what)

    options = Options(faults=Faults(share(duplicates), share(late), malformed=share(malformed)), seed=seed)
    catalog, log = Path(env["DATAFORGE_LAKE_CATALOG"]), stack.paths.of("lake") / "killed.log"
    proof = asyncio.run(
        Prove(reach, catalog, env, interpreter, horizons(), options, progress, log).run(events, kills=kills)
    )
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(proof)) + b"\n")
    _show_proof(proof, console)
    if not proof.agrees:
        raise typer.Exit(1)


def _show_proof(proof: Proof, console: Console) -> None:
    for kill in proof.kills:
        console.print(f"{kill['job']} was killed {kill['moment']}: {kill['seen']}", soft_wrap=True)
    table = Table("layer", "compared", "equal", "different", "missing", "extra")
    for name, layer in proof.layers.items():
        table.add_row(
            name, *(f"{layer[column]:,}" for column in ("compared", "equal", "different", "missing", "extra"))
        )
    console.print(table)
    for problem in proof.problems:
        console.print(f"[red]problem[/] {problem}", soft_wrap=True)
    console.print(f"{'[bold green]agrees' if proof.agrees else '[bold red]DOES NOT AGREE'}[/]: {proof.sent:,} sent")
