"""`dataforge down`."""

import typer
from rich.console import Console

from devstack.commands.options import Data, data_dir
from devstack.model import read_state
from devstack.paths import StackPaths
from devstack.stack import Stack

app = typer.Typer()


@app.command()
def down(data: Data = None) -> None:
    """Stop services, then servers; what does not go is killed. The data stays."""
    paths = StackPaths(data_dir(data))
    console = Console()
    state = read_state(paths.state)
    if state is None:
        console.print(f"No stack has run on {paths.data}; there is nothing to stop.")
        return
    with console.status("stopping services, then servers"):
        stopped = Stack(paths).stop()
    console.print(
        "[green]Stopped.[/] The data stays in" if stopped else "Nothing was running. The data is in", paths.data
    )
