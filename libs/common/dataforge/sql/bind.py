"""A statement with as many places as its values need. Values never become text: engines bind them. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlglot import exp

from dataforge.contracts.model import Parameter
from dataforge.sql.problem import SqlProblem
from dataforge.sql.statement import Statement


class Shape(NamedTuple):
    """What the text of a query depends on, beside its statement: the same for all values of the same shape."""

    lists: tuple[tuple[str, int | None], ...]
    """(list parameter, how many values it has; None where it is null)."""
    limit: int
    """Rows that are fetched: one more than are answered, unless the query itself wants fewer."""


def shape_of(
    statement: Statement, parameters: Mapping[str, Parameter], values: Mapping[str, Any], max_rows: int
) -> Shape:
    """*Raises* `SqlProblem` where the query's own limit is none."""
    lists = tuple(
        (p.name, None if values[p.name] is None else len(values[p.name])) for p in parameters.values() if p.many
    )
    return Shape(lists, min(max_rows + 1, _own_limit(statement.tree, values)))


def placed(statement: Statement, shape: Shape) -> exp.Query:
    """A tree with a place for each value, named as in `arguments`, and the shape's limit."""
    tree = statement.tree.copy()
    tree.set("limit", exp.Limit(expression=exp.Literal.number(shape.limit)))
    lengths = dict(shape.lists)
    for node in list(tree.find_all(exp.Placeholder)):
        if node.name not in lengths:
            node.set("this", f"p_{node.name}")
            continue
        cast, length = node.parent, lengths[node.name]
        items = [exp.Placeholder(this=f"i{at}_{node.name}") for at in range(length or 0)]
        assert isinstance(cast, exp.Cast)  # noqa: S101 - `statement` has put it there
        within = cast.parent
        if length is None:
            node.replace(exp.null())
        elif isinstance(within, exp.In) and cast.arg_key == "expressions":
            _listed(within, cast, items)
        else:
            node.replace(exp.Array(expressions=items))
    return tree


def places_of(tree: exp.Query) -> frozenset[str]:
    """Where it takes values. A walk through all of it: not to be done for each question."""
    return frozenset(node.name for node in tree.find_all(exp.Placeholder))


def arguments(values: Mapping[str, Any], places: Iterable[str]) -> dict[str, Any]:
    """Place -> value."""
    every: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, tuple):
            every |= {f"i{at}_{name}": each for at, each in enumerate(value)}
        else:
            every[f"p_{name}"] = value
    return {place: every[place] for place in places}


def _listed(within: exp.In, cast: exp.Cast, items: list[exp.Placeholder]) -> None:
    """`x IN (:list)` as `x IN (a, b)`; of nothing, nothing is in it."""
    others = [each for each in within.expressions if each is not cast]
    casts = [exp.Cast(this=item, to=cast.to.copy()) for item in items]
    if others or casts:
        within.set("expressions", [*others, *casts])
    else:
        within.replace(exp.false())


def _own_limit(tree: exp.Query, values: Mapping[str, Any]) -> int:
    limit = tree.args.get("limit")
    if limit is None:
        return 2**63
    wanted = limit.expression
    if isinstance(wanted, exp.Placeholder):
        wanted = values[wanted.name]
    elif isinstance(wanted, exp.Literal) and wanted.is_int:
        wanted = int(wanted.this)
    if not isinstance(wanted, int) or wanted < 0:
        raise SqlProblem("LIMIT takes a whole number that is not negative")
    return wanted
