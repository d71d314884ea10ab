"""What runs queries."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from dataforge.contracts.model import Parameter
from dataforge.sql.bind import Shape
from dataforge.sql.statement import Statement

from query_api.query.answer import Rows
from query_api.query.catalog import Located


class Question(NamedTuple):
    """A query with its values."""

    key: str
    """Of its statement: the same text, declared the same way, over the same domain."""
    statement: Statement
    parameters: Mapping[str, Parameter]
    values: Mapping[str, Any]
    shape: Shape
    max_rows: int


class Engine(Protocol):
    """*Guarantees*: at most `max_rows` rows come back; whoever is cancelled, or waits for longer than the time limit,
    leaves nothing running behind.

    *Raises* `QueryProblem`.
    """

    name: str

    async def run(self, question: Question, located: Mapping[str, Located]) -> Rows: ...

    async def close(self) -> None: ...
