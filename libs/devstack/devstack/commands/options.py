"""Options several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from devstack.errors import StackError
from devstack.model import read_running
from devstack.paths import StackPaths
from devstack.settings import default_data_dir

Data = Annotated[
    Path | None,
    typer.Option("--data", help="The stack's data folder; default DATAFORGE_DATA, else .dataforge in the repo."),
]
Bootstrap = Annotated[str | None, typer.Option("--bootstrap", help="Another Kafka than the stack's, HOST:PORT.")]
Json = Annotated[bool, typer.Option("--json", help="For machines: one JSON document on standard output.")]


def data_dir(given: Path | None) -> Path:
    return given.expanduser().absolute() if given else default_data_dir()


def kafka_of(bootstrap: str | None, data: Path | None) -> str:
    """*Raises* `StackError` where neither is given and no stack runs."""
    if bootstrap:
        return bootstrap
    folder = data_dir(data)
    state = read_running(StackPaths(folder).state)
    if state is None:
        raise StackError(f"no stack runs on {folder}: `dataforge up` starts one, --bootstrap names another Kafka")
    return state.endpoints.kafka
