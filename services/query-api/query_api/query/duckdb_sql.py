"""A query of Athena's as DuckDB's, with the same answer. Pure.

The parser's own translation covers most of it; what is here is where the two mean different things by the same words.
"""

from collections.abc import Callable, Mapping

import sqlglot
from sqlglot import exp
from sqlglot.errors import UnsupportedError

from dataforge.sql.problem import SqlProblem
from dataforge.sql.types import DATE, FLOATS, INTEGERS, kind

from query_api.query.formats import strftime_of


def translate(tree: exp.Query, locations: Mapping[str, str]) -> str:
    """`locations`: table as it is written in the tree -> its Iceberg metadata. *Raises* `SqlProblem`."""
    tree = tree.copy()
    for node in reversed(list(tree.walk())):
        found = _replaced(node)
        if found is not node:
            found.type = node.type
            node.replace(found)
    for table in list(tree.find_all(exp.Table)):
        if table.db:
            table.set("this", _call("iceberg_scan", exp.Literal.string(locations[f"{table.db}.{table.name}"])))
            table.set("db", None)
    try:
        return tree.sql(dialect="duckdb", comments=False, unsupported_level=sqlglot.ErrorLevel.RAISE)
    except UnsupportedError as error:
        raise SqlProblem(f"the local engine cannot do this: {error}") from None


def _replaced(node: exp.Expr) -> exp.Expr:
    change = _CHANGES.get(type(node))
    return change(node) if change else node


def _division(node: exp.Expr) -> exp.Expr:
    """Whole numbers divide to a whole number, and nothing by zero."""
    over, by = node.this, node.expression
    if not (kind(over) in INTEGERS and kind(by) in INTEGERS):
        return node
    made = exp.IntDiv if isinstance(node, exp.Div) else exp.Mod
    found = exp.paren(made(this=over.copy(), expression=by.copy()), copy=False)
    zero = exp.EQ(this=by.copy(), expression=exp.Literal.number(0))
    if isinstance(by, exp.Literal) and by.this != "0":
        return found
    return exp.Case(ifs=[exp.If(this=zero, true=_call("error", exp.Literal.string("Division by zero")))], default=found)


def _sum(node: exp.Expr) -> exp.Expr:
    """A sum of whole numbers has 64 bits, not 128. The cast goes around FILTER and OVER."""
    inner: exp.Expr = node
    while isinstance(inner, exp.Window | exp.Filter):
        inner = inner.this
    outermost = not (isinstance(node.parent, exp.Window | exp.Filter) and node.arg_key == "this")
    if outermost and isinstance(inner, exp.Sum) and kind(inner.this) in INTEGERS:
        return exp.cast(node.copy(), "BIGINT")
    return node


def _date_diff(node: exp.Expr) -> exp.Expr:
    """Whole units that have passed, not borders that were crossed."""
    unit = exp.Literal.string(node.text("unit").lower())
    return _call("date_sub", unit, node.expression.copy(), node.this.copy())


def _still_a_date(node: exp.Expr) -> exp.Expr:
    """A date that is moved or cut is a date, not an instant."""
    return exp.cast(node.copy(), "DATE") if kind(node) is DATE else node


def _cast(node: exp.Expr) -> exp.Expr:
    """Half a unit rounds away from zero, not to the even one."""
    if isinstance(node, exp.Cast) and node.to.this in INTEGERS and kind(node.this) in FLOATS:
        return type(node)(this=exp.Round(this=node.this.copy()), to=node.to.copy())
    return node


def _without_digits(node: exp.Expr) -> exp.Expr:
    """A time's digits are not its type."""
    if (
        isinstance(node, exp.DataType)
        and node.this in (exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ)
        and node.expressions
    ):
        return exp.DataType(this=node.this)
    return node


def _regexp_extract(node: exp.Expr) -> exp.Expr:
    """What does not match is null, not empty."""
    matches = exp.RegexpLike(this=node.this.copy(), expression=node.expression.copy())
    return exp.Case(ifs=[exp.If(this=matches, true=node.copy())])


def _extract(node: exp.Expr) -> exp.Expr:
    """Weeks begin on Monday; the day is UTC's, as the session is."""
    unit = node.name.lower()
    return _call("date_part", exp.Literal.string(_PARTS.get(unit, unit)), node.expression.copy())


_PARTS = {"dow": "isodow", "dayofweek": "isodow", "day_of_week": "isodow", "yow": "isoyear", "year_of_week": "isoyear"}


def _json_scalar(node: exp.Expr) -> exp.Expr:
    """What is no JSON has nothing in it, and is no error."""
    return exp.Case(ifs=[exp.If(this=_call("json_valid", node.this.copy()), true=exp.paren(node.copy()))])


def _named(node: exp.Expr) -> exp.Expr:
    """`format_datetime`: the only function that the parser does not know."""
    at, pattern = (*node.expressions, None, None)[:2]
    if at is None or not isinstance(pattern, exp.Literal) or not pattern.is_string or len(node.expressions) != 2:
        raise SqlProblem("format_datetime takes a time and a pattern in quotes")
    return _call("strftime", at.copy(), exp.Literal.string(strftime_of(pattern.this)))


def _call(name: str, *arguments: exp.Expr) -> exp.Anonymous:
    return exp.Anonymous(this=name, expressions=list(arguments))


_CHANGES: Mapping[type[exp.Expr], Callable[[exp.Expr], exp.Expr]] = {
    exp.Div: _division,
    exp.Mod: _division,
    exp.Sum: _sum,
    exp.Filter: _sum,
    exp.Window: _sum,
    exp.DateDiff: _date_diff,
    **dict.fromkeys((exp.DateAdd, exp.Add, exp.Sub, exp.TimestampTrunc, exp.DateTrunc, exp.LastDay), _still_a_date),
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.DataType: _without_digits,
    exp.Extract: _extract,
    exp.RegexpExtract: _regexp_extract,
    exp.JSONExtractScalar: _json_scalar,
    exp.Anonymous: _named,
}
