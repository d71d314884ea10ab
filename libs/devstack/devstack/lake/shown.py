"""What a job of the lake says while it works, on a terminal: its steps as a bar, everything else above it."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from devstack.lake.steps import step


class Shown:
    """One bar, for what is done just now."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("starting Spark", total=None)

    def heard(self, line: str) -> None:
        said = step(line)
        if said is None:
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            about = f"{said.event}: {said.job} {said.what}"
            self._progress.update(self._task, description=about, completed=said.done, total=said.of or None)


@contextmanager
def shown(console: Console) -> Iterator[Shown]:
    columns = (
        SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        yield Shown(progress)
