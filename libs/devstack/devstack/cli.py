"""The `dataforge` command: one module per command in `devstack.commands`, imported only when it is used.

A command module holds a Typer called `app`. If its one function is named like the module it is the command
itself (`dataforge up`), else the module is a group (`dataforge domain check`).

Exit codes: 0 done; 1 it failed; 2 wrong usage or settings; 130 interrupted.
"""

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.console import Console

from dataforge.errors import DataForgeError

from devstack.errors import UsageError

COMMANDS: Mapping[str, str] = {
    "up": "Start the stack, or find the one that runs and add domains to it.",
    "down": "Stop the stack and everything it started.",
    "status": "What runs, where, how large, how far behind.",
    "logs": "Show the log of a server or service.",
    "demo": "The whole path on real data, compared with an independent query.",
    "replay": "Turn stored purchases into live events.",
    "ledger": "What became of every record, and whether it adds up.",
    "where": "Where one record is: landed, judged, counted, visible.",
    "quarantine": "What was rejected, why, and how much of it.",
    "resume": "Judge a topic again that too many rejections have paused.",
    "domain": "Check a domain folder.",
    "lake": "The lakehouse: history as tables, each event once, and the judge of the live numbers.",
    "warehouse": "The star schema over the lake, by dbt.",
    "bench": "Measure the platform beside its peers.",
    "chaos": "Break a stack in every way while events flow, and prove that nothing is lost or counted twice.",
}
"""Name -> help in the overview. A command whose module is not installed is not listed."""


def app() -> None:
    """The entry point."""
    try:
        build(sys.argv[1:])()
    except DataForgeError as error:
        Console(stderr=True).print(f"[bold red]dataforge:[/] {_plain(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


def build(arguments: Sequence[str]) -> typer.Typer:
    """The command line for these arguments: the command asked for is real, the others only have a name and help."""
    root = typer.Typer(
        name="dataforge",
        help="DataForge: real-time analytics that can prove it counted everything once.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    root.callback()(_overview)
    for name, summary in COMMANDS.items():
        if importlib.util.find_spec(f"devstack.commands.{name}") is None:
            continue
        if arguments and arguments[0] == name:
            _mount(root, name, importlib.import_module(f"devstack.commands.{name}").app)
        else:
            root.command(name, help=summary)(_overview)
    return root


def _mount(root: typer.Typer, name: str, commands: Any) -> None:
    only = commands.registered_commands[0] if len(commands.registered_commands) == 1 else None
    if only is not None and (only.name or only.callback.__name__) in (name, "main"):
        root.command(name, help=only.help)(only.callback)
    else:
        root.add_typer(commands, name=name, help=COMMANDS[name])


def _overview() -> None:
    pass


def _plain(text: str) -> str:
    """Error texts quote logs and paths: nothing in them is Rich's markup."""
    return text.replace("[", r"\[")
