"""`dataforge quarantine`: ls, show, stats."""

import asyncio
import logging
import sys
import time
from base64 import b64encode
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from dataforge.contracts.reasons import Reason

from devstack import quarantine as reading
from devstack.commands.options import Bootstrap, Data, Json, kafka_of
from devstack.errors import UsageError
from devstack.quarantine import Original, Rejection, Stats, Wanted

app = typer.Typer(no_args_is_help=True)

_MINUTE_MS, _HOUR_MS = 60_000, 3_600_000
_FINE_MS = 3 * _HOUR_MS
"""Shorter spans are shown by the minute."""

Domain = Annotated[str, typer.Option(help="Only of this domain.")]
Event = Annotated[str, typer.Option(help="Only this event, `sale` or `sale.v1`.")]
ReasonOption = Annotated[str, typer.Option(help="Only this reason: the platform's, or a rule's name.")]


@app.callback()
def quarantine() -> None:
    """What was rejected, why, and how much of it."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


@app.command()
def ls(
    domain: Domain = "",
    event: Event = "",
    reason: ReasonOption = "",
    since: Annotated[str, typer.Option(help="Only what arrived since: 30m, 2h, 7d.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    scan: Annotated[int, typer.Option(min=1, help="Look at no more of the newest records in a partition.")] = 100_000,
    bootstrap: Bootstrap = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """The newest rejected records."""
    wanted = _wanted(domain, event, reason, since)
    found, sure = asyncio.run(reading.newest(kafka_of(bootstrap, data), wanted, limit, scan))
    if json:
        _write([_builtins(rejection) for rejection in found])
        return
    table = Table("arrived", "origin", "reason", "detail", "first bytes", box=None)
    for r in found:
        table.add_row(_time(r.at_ms), r.origin, _printable(r.reason), _short(r.detail, 60), _first_bytes(r.value))
    console = Console(highlight=False)
    console.print(table if found else "nothing is in quarantine that fits")
    if not sure:
        Console(stderr=True).print(
            f"looked at the newest {scan:,} records of a partition only; there may be more: --scan N looks further"
        )


@app.command()
def show(
    origin: Annotated[str, typer.Argument(help="As `ls` shows it: raw.<domain>.<event>.v<N>/<partition>/<offset>.")],
    raw: Annotated[bool, typer.Option("--raw", help="Only the value, byte by byte, on standard output.")] = False,
    bootstrap: Bootstrap = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """One rejected record, whole."""
    if raw and json:
        raise UsageError("--raw and --json both say what to write: give one")
    rejection, original = asyncio.run(reading.one(kafka_of(bootstrap, data), origin))
    if raw:
        sys.stdout.buffer.write(rejection.value or b"")
    elif json:
        _write(_builtins(rejection) | {"original": _original(original)})
    else:
        _show(rejection, original, Console(highlight=False, soft_wrap=True))


@app.command()
def stats(
    domain: Domain = "",
    event: Event = "",
    reason: ReasonOption = "",
    since: Annotated[str, typer.Option(help="The span: 30m, 2h, 7d.")] = "24h",
    bootstrap: Bootstrap = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """How much was rejected, for what and when, and its share of what was received."""
    wanted = _wanted(domain, event, reason, since)
    bucket_ms = _MINUTE_MS if _now_ms() - wanted.since_ms <= _FINE_MS else _HOUR_MS
    kafka = kafka_of(bootstrap, data)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=None)
        done = reading.stats(kafka, wanted, bucket_ms, lambda n, of: progress.update(task, completed=n, total=of))
        counted = asyncio.run(done)
    if json:
        topics = [msgspec.to_builtins(topic) | {"share": topic.share} for topic in counted.topics]
        _write(msgspec.to_builtins(counted) | {"topics": topics})
    else:
        _show_stats(counted, Console(highlight=False))


def _wanted(domain: str, event: str, reason: str, since: str) -> Wanted:
    if reason and not reason.islower():
        raise UsageError(f"{reason!r} is no reason; the platform's are {', '.join(Reason)}, the others rules' names")
    return Wanted(domain, event, reason, reading.since_of(since, _now_ms()) if since else 0)


def _show(rejection: Rejection, original: Original | None, console: Console) -> None:
    table = Table(show_header=False, box=None)
    rows = {
        "origin": rejection.origin,
        "arrived": _time(rejection.at_ms),
        "verdict": rejection.verdict,
        "reason": rejection.reason,
        "detail": rejection.detail,
        "warnings": ", ".join(rejection.warnings),
        "contract": rejection.contract,
        "key": "beyond the raw topic's retention; landing has it" if original is None else _bytes(original.key),
        "headers": ", ".join(f"{name}={_bytes(value)}" for name, value in original.headers) if original else "",
        "value": f"{len(rejection.value or b''):,} bytes",
    }
    for name, text in rows.items():
        if text:
            table.add_row(Text(name, "bold"), _lines(text))
    console.print(table)
    console.print(_pretty(rejection.value))


def _show_stats(counted: Stats, console: Console) -> None:
    table = Table("topic", "received", "rejected", "share", "reasons", box=None)
    for t in counted.topics:
        most = sorted(t.reasons.items(), key=lambda item: -item[1])
        reasons = ", ".join(f"{_printable(reason)} {count:,}" for reason, count in most)
        table.add_row(t.topic, f"{t.received:,}", f"{t.rejected:,}", f"{t.share:.2%}", reasons)
    console.print(table)
    if counted.buckets:
        table = Table("minute" if counted.bucket_ms == _MINUTE_MS else "hour", "topic", "rejected", "most", box=None)
        for bucket in counted.buckets:
            most = max(bucket.reasons, key=lambda reason: bucket.reasons[reason])
            total = sum(bucket.reasons.values())
            table.add_row(_time(bucket.start_ms)[:16], bucket.topic, f"{total:,}", _printable(most))
        console.print(table)


def _builtins(rejection: Rejection) -> dict[str, Any]:
    """`value` is text where it is UTF-8, else null; `value_base64` is always exact."""
    fields = msgspec.to_builtins(rejection)
    return fields | {"value": _utf8(rejection.value), "value_base64": fields["value"]}


def _original(original: Original | None) -> dict[str, Any] | None:
    if original is None:
        return None
    headers = [[name, b64encode(value or b"").decode()] for name, value in original.headers]
    key = None if original.key is None else b64encode(original.key).decode()
    return {"key": _utf8(original.key), "key_base64": key, "headers_base64": headers}


def _utf8(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _pretty(value: bytes | None) -> Text:
    if value is None:
        return Text("no value (a tombstone)", "dim")
    try:
        return _lines(msgspec.json.format(value, indent=2).decode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _lines(_bytes(value))


def _first_bytes(value: bytes | None) -> Text:
    return _short(_bytes(value[:200]) if value is not None else "", 48)


def _bytes(value: bytes | None) -> str:
    return "none" if value is None else value.decode("utf-8", "backslashreplace")


def _short(text: str, length: int) -> Text:
    shown = _printable(text)
    return Text(shown if len(shown) <= length else shown[: length - 1] + "…")


def _printable(text: str) -> str:
    """Whoever produced it must not steer the terminal: what is not printable is shown escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _lines(text: str) -> Text:
    return Text("\n".join(map(_printable, text.split("\n"))))


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _write(document: Any) -> None:
    sys.stdout.write(msgspec.json.encode(document).decode() + "\n")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
