"""`dataforge resume`."""

import asyncio
import logging
import sys
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from devstack.commands.options import Bootstrap, Data, Json, kafka_of
from devstack.resume import Lifted
from devstack.resume import resume as lift

app = typer.Typer()


@app.command()
def resume(
    topic: Annotated[str, typer.Argument(help="The raw topic, as the alert names it.")],
    through: Annotated[
        bool,
        typer.Option(
            "--through", help="Let through what is in the log now, however bad; what comes later is measured."
        ),
    ] = False,
    bootstrap: Bootstrap = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Judge a paused topic again. Without --through it pauses again where what waits is still too bad."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    lifted = asyncio.run(lift(kafka_of(bootstrap, data), topic, through=through))
    if json:
        sys.stdout.write(msgspec.json.encode(lifted).decode() + "\n")
    else:
        _show(lifted, Console(highlight=False))


def _show(lifted: Lifted, console: Console) -> None:
    console.print(f"[bold]{lifted.topic}[/] goes on. It was paused because {lifted.message}.")
    if lifted.through:
        ends = ", ".join(f"{partition}: {end:,}" for partition, end in sorted(lifted.through.items()))
        console.print(f"Let through, whatever they are: records below these offsets (by partition): {ends}")
    else:
        console.print("Nothing is let through unmeasured: it pauses again if too much is still rejected.")
