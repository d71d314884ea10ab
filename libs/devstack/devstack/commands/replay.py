"""`dataforge replay`."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from dataforge.runtime.tracing import configure_tracing, stop_tracing

from devstack.clients import asking
from devstack.commands import replaying
from devstack.commands.options import Data, Json, data_dir
from devstack.commands.replaying import horizons, pace, sending, share
from devstack.errors import UsageError
from devstack.replay.manifest import Manifest
from devstack.replay.plan import Faults
from devstack.replay.purchases import read_purchases
from devstack.replay.replay import Options, Replayed
from devstack.replay.replay import replay as replay_purchases
from devstack.replay.send import make_producer
from devstack.settings import otlp_endpoint
from devstack.stack import Stack

app = typer.Typer()


@app.command()
def replay(
    domain: Annotated[str, typer.Argument(help="Whose data: retail is the one there is.")] = "retail",
    events: Annotated[int | None, replaying.EVENTS] = None,
    rate: Annotated[str | None, replaying.RATE] = None,
    speed: Annotated[float | None, typer.Option(min=0.001, help="Times the speed of 2017.")] = None,
    seed: Annotated[int, replaying.SEED] = 1,
    duplicates: Annotated[str, replaying.DUPLICATES] = "0%",
    late: Annotated[str, replaying.LATE] = "0%",
    out_of_order: Annotated[str, replaying.OUT_OF_ORDER] = "0%",
    malformed: Annotated[str, replaying.MALFORMED] = "0%",
    pass_: Annotated[
        int, typer.Option("--pass", help="Part of every event id: the same pass again is a repeat, another is new.")
    ] = 1,
    manifest: Annotated[Path | None, typer.Option(help="Write what was sent, record by record (Parquet).")] = None,
    trace: Annotated[str, typer.Option(metavar="SHARE", help="Trace this share, chosen by event id.")] = "0%",
    bootstrap: Annotated[str | None, typer.Option(help="Another Kafka than the stack's, HOST:PORT.")] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Send the grocery purchases of 2017 as live events: event time is now, or ends now with --rate max."""
    if domain != "retail":
        raise UsageError(f"there is no data to replay for {domain!r}; there is: retail")
    if speed is not None and rate is not None:
        raise UsageError("--rate and --speed both set the pace: give one")
    options = Options(
        rate=pace(rate),
        speed=speed,
        faults=Faults(share(duplicates), share(late), share(out_of_order), share(malformed)),
        seed=seed,
        pass_=pass_,
        trace_ratio=share(trace),
    )
    kafka = bootstrap or Stack.attach(data_dir(data)).endpoints().kafka
    console = Console(stderr=True)
    kept = Manifest() if manifest else None
    configure_tracing("replayer", otlp_endpoint())
    try:
        with asking(f"Kafka at {kafka}"):
            done = asyncio.run(_replay(kafka, events, options, kept, console))
    finally:
        stop_tracing()
    if kept is not None and manifest is not None:
        kept.write(manifest)
    if json:
        sys.stdout.write(msgspec.json.encode({"pass": pass_} | msgspec.to_builtins(done)).decode() + "\n")
    else:
        speed = done.sent / done.elapsed_s
        console.print(f"pass {pass_}: sent {done.sent:,} records in {done.elapsed_s:.1f} s, {speed:,.0f} a second")


async def _replay(
    kafka: str, events: int | None, options: Options, manifest: Manifest | None, console: Console
) -> Replayed:
    purchases, promised = read_purchases(events), horizons()
    total = len(purchases) + sum(
        round(len(purchases) * s) for s in (options.faults.duplicates, options.faults.malformed)
    )
    producer = make_producer(kafka)
    try:
        await producer.start()
        with sending(console, total) as on_sent:
            return await replay_purchases(producer, purchases, options, promised, manifest=manifest, on_sent=on_sent)
    finally:  # closed also where nobody answered
        await producer.stop()
