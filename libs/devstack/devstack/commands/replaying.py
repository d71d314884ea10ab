"""What `replay` and `demo` share: shares like `1%`, the domain's promises, a progress bar."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from devstack.domains import checked
from devstack.errors import UsageError
from devstack.paths import repo_root
from devstack.replay.plan import Horizons


def share(text: str) -> float:
    """`1%` or `0.01` as a number from 0 to 1. *Raises* `UsageError`."""
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise UsageError(f"{text!r} is no share: give something like 1% or 0.01")
    return number


def pace(text: str | None) -> float | None:
    """Events per second; None for `max`. *Raises* `UsageError`."""
    if text is None or text == "max":
        return None
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not number > 0:
        raise UsageError(f"--rate {text!r}: give events per second, or max")
    return number


def horizons() -> Horizons:
    """Of the retail domain in the repo: faults are placed clearly on one side of them."""
    # imported late: the other commands start without the validators
    from dataforge.contracts.load import load_domains

    [folder] = checked([repo_root() / "domains" / "retail"])
    event = load_domains([Path(folder)])[0].event("purchase")
    return Horizons(event.lateness_ms, event.dedupe_ms)


@contextmanager
def sending(console: Console, total: int, what: str = "sending") -> Iterator[Callable[[int], None]]:
    """A progress bar (a pulse where `total` is 0); the function yielded takes how many more are done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(show_speed=True),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total or None)
        yield lambda count: bar.update(task, advance=count)


EVENTS = typer.Option(min=1, max=1_469_307, help="The first N purchases in time order; default all 1,469,307.")
RATE = typer.Option(help="Events per second, or max.")
SEED = typer.Option(help="Seed of every fault that is injected.")
DUPLICATES = typer.Option(metavar="SHARE", help="Send this share a second time, e.g. 1%.")
LATE = typer.Option(metavar="SHARE", help="Send this share late: half within lateness, half clearly beyond.")
OUT_OF_ORDER = typer.Option(metavar="SHARE", help="Send this share after events that happened later.")
MALFORMED = typer.Option(metavar="SHARE", help="Add this share of bad records, every kind in turn.")
