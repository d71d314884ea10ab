"""`dataforge logs`."""

import os
import sys
import time
from collections import deque
from pathlib import Path
from typing import IO, Annotated

import typer

from devstack.commands.options import Data, data_dir
from devstack.errors import UsageError
from devstack.paths import StackPaths

app = typer.Typer()
_POLL_S = 0.2


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="A server, a service, or `supervisor`.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the log grows, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many lines from its end.")] = 50,
    data: Data = None,
) -> None:
    """Show the end of a log."""
    paths = StackPaths(data_dir(data))
    log = paths.log(name)
    if not log.is_file():
        known = sorted(f.stem for f in paths.logs.glob("*.log")) if paths.logs.is_dir() else []
        raise UsageError(f"there is no log of {name!r} in {paths.logs}; there is {', '.join(known) or 'none yet'}")
    with log.open(errors="replace") as handle:
        sys.stdout.writelines(deque(handle, maxlen=lines))
        sys.stdout.flush()
        if follow:
            _follow(handle, log)


def _follow(handle: IO[str], log: Path) -> None:
    """Also across rotation: a file that was replaced is opened anew."""
    while True:
        if chunk := handle.read():
            sys.stdout.write(chunk)
            sys.stdout.flush()
            continue
        if log.exists() and os.fstat(handle.fileno()).st_ino != log.stat().st_ino:
            handle = log.open(errors="replace")
        time.sleep(_POLL_S)
