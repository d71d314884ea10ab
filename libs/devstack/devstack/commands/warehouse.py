"""`dataforge warehouse build`, `test`, `docs`, `freshness`: the star schema over the lake, by dbt."""

import sys
from typing import Annotated

import typer

from devstack.commands.options import Data, data_dir
from devstack.settings import inherited
from devstack.stack import Stack
from devstack.warehouse.dbt import DOMAIN, TARGETS, VERBS, command, dbt, environment, has_star, python

app = typer.Typer()


@app.command()
def warehouse(
    verb: Annotated[str, typer.Argument(help=f"One of {', '.join(VERBS)}; build: make the tables, and test them.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="dbt's own: -- --select dim_users.")] = None,
    target: Annotated[str, typer.Option(help=f"Where it is built: {', '.join(TARGETS)}.")] = TARGETS[0],
    data: Data = None,
) -> None:
    """The star schema over the lake of retail, by dbt. Bring the lake up to date first: `dataforge lake run all`.

    Exit code 0: done, and every test holds; 1: something failed; 2: it could not be tried.
    """
    stack = Stack.attach(data_dir(data))
    if not has_star(stack.state().domains):
        sys.stderr.write(f"this stack has no domain {DOMAIN!r}, which the star is of: there is nothing to do\n")
        return
    asked = command(python(), verb, target, arguments or ())
    code = dbt(asked, environment(stack.endpoints(), stack.paths, inherited()))
    if code:
        raise typer.Exit(code)
