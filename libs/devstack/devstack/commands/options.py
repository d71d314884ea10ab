"""Options several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from devstack.settings import default_data_dir

Data = Annotated[
    Path | None,
    typer.Option("--data", help="The stack's data folder; default DATAFORGE_DATA, else .dataforge in the repo."),
]
Json = Annotated[bool, typer.Option("--json", help="For machines: one JSON document on standard output.")]


def data_dir(given: Path | None) -> Path:
    return given.expanduser().absolute() if given else default_data_dir()
