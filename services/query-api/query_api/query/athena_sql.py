"""A query as Athena takes it: tables by Glue's names, values as parameters in order; and what its texts mean. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

import sqlglot
from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from dataforge.sql.problem import SqlProblem
from dataforge.sql.tables import Table
from dataforge.sql.types import DIALECT

_MAX_PARAMETER = 1_024


class Sent(NamedTuple):
    """What is sent."""

    text: str
    places: Sequence[str]
    """Of the question marks, in order."""
    arrays: Mapping[str, str]
    """Column -> its type, for those that are sent as JSON."""


def rendered(tree: exp.Query, tables: Mapping[str, Table]) -> Sent:
    """`tables`: as they are written in the tree. *Raises* `SqlProblem`."""
    tree = tree.copy()
    _group_by_place(tree)
    arrays = _arrays_as_json(tree)
    for node in list(tree.find_all(exp.Table)):
        if node.db:
            table = tables[f"{node.db}.{node.name}"]
            node.set("db", exp.to_identifier(table.namespace, quoted=True))
            node.set("this", exp.to_identifier(table.name, quoted=True))
    return Sent(*_in_order(tree.sql(dialect=DIALECT, comments=False)), arrays)


def parameters_of(places: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """Literals, in the order of the places. *Raises* `SqlProblem`."""
    found = [_literal(values[place]) for place in places]
    if any(len(each) > _MAX_PARAMETER for each in found):
        raise SqlProblem(f"a value is longer than the {_MAX_PARAMETER:,} characters that Athena takes")
    return found


def value_of(kind: str, text: str | None) -> Any:
    """What Athena's text of a value says. `kind`: the column's type."""
    if text is None:
        return None
    if kind.startswith("array("):
        each = kind[len("array(") : -1]
        return [None if item is None else value_of(each, str(item)) for item in json.loads(text)]
    read = _READ.get(kind.partition("(")[0])
    return read(text) if read else text


def _in_order(text: str) -> tuple[str, list[str]]:
    """Named places as question marks."""
    parts, places, end = list[str](), list[str](), 0
    tokens = sqlglot.tokenize(text, read=DIALECT)
    for colon, name in pairwise(tokens):
        if colon.token_type is TokenType.COLON and name.start == colon.end + 1:
            parts += [text[end : colon.start], "?"]
            places.append(name.text)
            end = name.end + 1
    return "".join([*parts, text[end:]]), places


def _arrays_as_json(tree: exp.Query) -> dict[str, str]:
    """Athena's own text of an array does not tell commas from separators."""
    found: dict[str, str] = {}
    for output in tree.selects:
        kind = output.type
        if not isinstance(kind, exp.DataType) or kind.this is not exp.DType.ARRAY:
            continue
        if not isinstance(tree, exp.Select):
            raise SqlProblem("a UNION with an array among its columns is not answered", "put the UNION into a WITH")
        inner = output.unalias()
        text = exp.Anonymous(this="json_format", expressions=[exp.cast(inner.copy(), "JSON", dialect=DIALECT)])
        output.replace(exp.alias_(text, output.alias_or_name, quoted=True))
        found[output.alias_or_name] = kind.sql(dialect=DIALECT).lower()
    return found


def _group_by_place(tree: exp.Query) -> None:
    """A parameter that stands in SELECT and in GROUP BY is two to Athena, and no longer the same expression."""
    for select in tree.find_all(exp.Select):
        group, outputs = select.args.get("group"), [output.unalias() for output in select.expressions]
        for node in list(group.expressions) if group else ():
            if node in outputs and node.find(exp.Placeholder):
                node.replace(exp.Literal.number(outputs.index(node) + 1))


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.16e}"  # all its digits
    if isinstance(value, datetime):
        return f"'{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC'"
    if isinstance(value, date):
        return f"'{value.isoformat()}'"
    return "'" + str(value).replace("'", "''") + "'"


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.removesuffix(" UTC")).replace(tzinfo=UTC)


_READ: Mapping[str, Callable[[str], Any]] = {
    "tinyint": int,
    "smallint": int,
    "integer": int,
    "bigint": int,
    "double": float,
    "float": float,
    "real": float,
    "decimal": Decimal,
    "boolean": lambda text: text == "true",
    "date": date.fromisoformat,
    "timestamp": _instant,
    "timestamp with time zone": _instant,
    "varbinary": bytes.fromhex,
}
