"""`dataforge where`: where is my event?"""

import re
import sys
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from devstack.commands.options import Data, Json, data_dir
from devstack.errors import StackError, UsageError
from devstack.oracle.api import Api, NoAnswer
from devstack.stack import Stack

app = typer.Typer()

_PLACE = re.compile(r"(?P<topic>[^/]+)/(?P<partition>\d+)/(?P<offset>\d+)")


@app.command()
def where(
    record: Annotated[
        str, typer.Argument(metavar="ID", help="TOPIC/PARTITION/OFFSET of the raw record, or an event id.")
    ],
    domain: Annotated[str | None, typer.Option(help="Of the event id; may be left out where there is one.")] = None,
    event: Annotated[str | None, typer.Option(help="Of the event id; all events of the domain where left out.")] = None,
    since: Annotated[str, typer.Option(help="How far back an event id is looked for: 15m, 2h, or an instant.")] = "1h",
    data: Data = None,
    json: Json = False,
) -> None:
    """Where a record is: landed, judged, counted, visible. Exit code 0: found; 1: not."""
    reach = Stack.attach(data_dir(data)).endpoints()
    place = _PLACE.fullmatch(record)
    if place is None and "/" in record and record.startswith("raw."):
        raise UsageError(f"{record!r} is no record: give TOPIC/PARTITION/OFFSET, as in raw.retail.purchase.v1/0/4711")
    try:
        with Api(reach.api_url, reach.api_token, timeout_s=300) as api:
            if place is not None:
                answer = msgspec.json.decode(api.get(f"/receipts/{record}"))
            else:
                answer = msgspec.json.decode(
                    api.get("/receipts", event_id=record, domain=domain, event=event, since=since)
                )
    except NoAnswer as error:
        raise StackError(f"no receipt: {error}") from error
    receipts = [answer] if place is not None else answer["receipts"]
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(answer)).decode() + "\n")
    else:
        console = Console(highlight=False)
        for receipt in receipts:
            show_receipt(receipt, console)
        if place is None:
            console.print(searched(record, answer), markup=False)
    if not receipts:
        raise typer.Exit(1)


def show_receipt(receipt: dict[str, Any], console: Console) -> None:
    landing, judging, counting = receipt["landing"], receipt["judging"], receipt["counting"]
    console.print(f"[bold]{receipt['topic']}/{receipt['partition']}/{receipt['offset']}[/]")
    lines = [
        ("received", receipt["appended"] or "yes"),
        (
            "landed",
            landing["object"]
            or {"pending": "not yet", "unknown": "not known: the object store is away"}[landing["state"]],
        ),
        ("judged", _judged(judging)),
        ("counted", _counted(counting)),
    ]
    for window in counting["windows"]:
        labels = " ".join(f"{name}={label}" for name, label in window["labels"].items())
        lines.append(("", f"{window['window']:>4} {window['start']} {', '.join(window['metrics'])} {labels}".rstrip()))
    if counting["state"] == "counted":
        before = counting.get("visible_before")
        known = f"before {before} (the feed no longer says when)" if before else "not known: the feed does not say"
        lines.append(("visible", f"since {counting['visible_since']}" if counting["visible_since"] else known))
    for name, text in lines:
        console.print(f"  {name:<9}{text}", markup=False, soft_wrap=True)


def _judged(judging: dict[str, Any]) -> str:
    if judging["state"] != "judged":
        return {"pending": "not yet", "missing": "never: the judged log goes on without it"}[judging["state"]]
    reason = f" ({judging['reason']})" if judging.get("reason") else ""
    warnings = f"; warnings: {', '.join(judging['warnings'])}" if judging["warnings"] else ""
    return f"{judging['verdict']}{reason}, offset {judging['position']} of the judged log{warnings}"


def _counted(counting: dict[str, Any]) -> str:
    match counting["state"]:
        case "counted":
            return f"yes: event {counting['event_id']} of {counting['event_time']}"
        case "duplicate":
            return f"no: event {counting['event_id']} came before, at offset {counting['duplicate_of']}"
        case "late":
            return f"no: late by {counting['late_by_ms']} ms; the watermark was {counting['watermark']}"
        case "none":
            return "no: it is not valid"
        case "pending":
            return "not yet"
        case _:
            return "not known: older than the ledger's minutes are kept"


def searched(event_id: str, answer: dict[str, Any]) -> str:
    records = sum(one["records"] for one in answer["searched"])
    found = len(answer["receipts"])
    return (
        f"{found} record{'' if found == 1 else 's'} of event {event_id} among {records:,} judged since"
        f" {answer['since']} in {len(answer['searched'])} partitions{'' if found else '; --since looks further back'}"
    )
