"""One query in Athena's dialect, parsed and checked: a single SELECT over the lake's tables, made of what is allowed.

Pure. Loading the parser takes a fifth of a second: whoever runs no queries does not import this.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import OptimizeError, ParseError, SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, traverse_scope
from sqlglot.schema import MappingSchema

from dataforge.contracts.model import Parameter
from dataforge.sql.functions import ALLOWED, NAMED, STRUCTURE, VOLATILE
from dataforge.sql.problem import SqlProblem
from dataforge.sql.tables import Table
from dataforge.sql.types import DIALECT, disagreement, typed

MAX_CHARACTERS = 20_000
SQL_TYPES = {
    "date": "DATE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "text": "VARCHAR",
    "enum": "VARCHAR",
}
"""Parameter's type -> what its value is to a query."""
_LINE = re.compile(r"Line:? (\d+)")
_COLUMN = re.compile(r"[Cc]olumn:? '?\"?([^'\":.]+)")


@dataclass(frozen=True, slots=True)
class Statement:
    """A query that may run, with the values of its parameters."""

    tree: exp.Query
    """Names qualified, types told; placeholders by the parameters' names. Not to be changed: copy it."""
    tables: Mapping[str, Table]
    """`silver.purchase` as it is written in the tree -> table."""
    parameters: frozenset[str]
    volatile: bool
    """The answer depends on the moment it is asked for."""
    text: str
    """The tree in Athena's words: the same however it was written."""


def read(text: str, tables: Mapping[str, Table], parameters: Mapping[str, Parameter] | None = None) -> Statement:
    """*Raises* `SqlProblem` where it is not one that may run."""
    if len(text) > MAX_CHARACTERS:
        raise SqlProblem(f"a query has at most {MAX_CHARACTERS:,} characters, not {len(text):,}")
    try:
        return _read(text, tables, parameters or {})
    except RecursionError:
        raise SqlProblem("the query is nested too deeply") from None
    except (SqlglotError, ValueError) as error:
        raise SqlProblem(f"the query cannot be understood: {_first_line(error)}") from None


def is_parameter_name(name: str) -> bool:
    """A word of SQL's own cannot stand after the colon."""
    try:
        [found] = sqlglot.parse(f"SELECT 1 WHERE a = :{name} AND b", dialect=DIALECT)
    except (SqlglotError, ValueError):
        return False
    return found is not None and [node.name for node in found.find_all(exp.Placeholder)] == [name]


def _read(text: str, tables: Mapping[str, Table], parameters: Mapping[str, Parameter]) -> Statement:
    tree = _single_select(text)
    for node in tree.walk():
        _demand_allowed(node)
    used = _place(tree, parameters)
    _name_outputs(tree)
    schema = _schema(tables)
    _demand_tables(tree, tables)
    try:
        tree = qualify(tree, schema=schema, dialect=DIALECT)
    except OptimizeError as error:
        raise _unresolved(error, tree, tables) from None
    found = _sources(tree, tables)
    tree = typed(tree, schema)
    for node in tree.walk():
        if problem := disagreement(node):
            raise SqlProblem(problem.message, problem.hint, _line(node))
    volatile = any(type(node) in VOLATILE for node in tree.walk())
    return Statement(tree, found, used, volatile, tree.sql(dialect=DIALECT, comments=False))


def _schema(tables: Mapping[str, Table]) -> MappingSchema:
    found = MappingSchema(dialect=DIALECT)
    for name, table in tables.items():
        found.add_table(name, dict(table.columns), dialect=DIALECT)
    return found


def _single_select(text: str) -> exp.Query:
    try:
        statements = [one for one in sqlglot.parse(text, dialect=DIALECT) if one is not None]
    except ParseError as error:
        told = error.errors[0] if error.errors else {}
        near = str(told.get("highlight") or "").strip()
        said = str(told.get("description") or "cannot be parsed").rstrip(".")
        raise SqlProblem(f"{said}{f' near {near!r}' if near else ''}", line=int(told.get("line") or 0)) from None
    if len(statements) != 1:
        raise SqlProblem(f"a query is one SELECT, and this is {len(statements) or 'no'} statements")
    [tree] = statements
    if not isinstance(tree, exp.Select | exp.SetOperation):
        raise SqlProblem("a query is one SELECT, and it only reads", "begin with SELECT or WITH")
    return tree


def _demand_allowed(node: exp.Expr) -> None:
    """*Raises* `SqlProblem`."""
    kind = type(node)
    if isinstance(node, exp.Anonymous):
        if node.name.lower() not in NAMED:
            raise _no_function(node.name.lower(), node)
    elif kind not in ALLOWED:
        if isinstance(node, exp.Func):
            raise _no_function(node.sql_name().lower(), node)
        raise SqlProblem(f"{_words(kind)} is not among what a query may use", _MANUAL, _line(node))
    elif isinstance(node, exp.Select) and not node.expressions:
        raise SqlProblem("SELECT names no column", "SELECT * has all of them", _line(node))
    elif isinstance(node, exp.With) and node.args.get("recursive"):
        raise SqlProblem("WITH RECURSIVE is not among what a query may use", _MANUAL, _line(node))
    elif isinstance(node, exp.Distinct) and node.args.get("on"):
        raise SqlProblem("DISTINCT ON is not among what a query may use", _MANUAL, _line(node))
    elif isinstance(node, exp.Placeholder) and not node.name:
        raise SqlProblem("a parameter has a name", "write :name instead of ?", _line(node))


_MANUAL = "docs/specs/queries.md lists what is"


def _no_function(name: str, node: exp.Expr) -> SqlProblem:
    known = [kind.sql_name().lower() for kind in ALLOWED - STRUCTURE if issubclass(kind, exp.Func)]
    near = difflib.get_close_matches(name, [*known, *NAMED], 1)
    hint = f"did you mean {near[0]}?" if near else _MANUAL
    return SqlProblem(f"{name} is not among the functions a query may use", hint, _line(node))


def _place(tree: exp.Query, parameters: Mapping[str, Parameter]) -> frozenset[str]:
    """Give each placeholder the type of its parameter. Returns the parameters that are used."""
    used: set[str] = set()
    for node in list(tree.find_all(exp.Placeholder)):
        name, parent = node.name, node.parent
        parameter = parameters.get(name)
        if parameter is None:
            near = difflib.get_close_matches(name, parameters, 1)
            there = f"declared are: {', '.join(parameters)}" if parameters else "no parameter is declared"
            hint = f"did you mean :{near[0]}?" if near else there
            raise SqlProblem(f"there is no parameter :{name}", hint, _line(node))
        used.add(name)
        if isinstance(parent, exp.Limit | exp.Offset):
            if parameter.many or parameter.type != "integer" or parameter.nullable:
                raise SqlProblem(f"LIMIT and OFFSET take one integer, and :{name} is none", "", _line(node))
            continue  # Athena takes no expression there
        one = exp.DataType.build(SQL_TYPES[parameter.type], dialect=DIALECT)
        within = isinstance(parent, exp.In) and node.arg_key == "expressions"
        listed = exp.DataType(this=exp.DType.ARRAY, expressions=[one], nested=True)
        node.replace(exp.Cast(this=node.copy(), to=listed if parameter.many and not within else one))
    return frozenset(used)


def _name_outputs(tree: exp.Query) -> None:
    """What has no name gets the one that Athena gives it."""
    first: exp.Expr = tree
    while isinstance(first, exp.SetOperation):
        first = first.left
    for at, output in enumerate(first.args.get("expressions") or ()):
        if isinstance(output, exp.Subquery) or not isinstance(output, exp.Alias | exp.Column | exp.Star):
            output.replace(exp.alias_(output.copy(), f"_col{at}"))


def _demand_tables(tree: exp.Query, tables: Mapping[str, Table]) -> None:
    """*Raises* `SqlProblem` for a table that is neither the lake's nor named by a WITH."""
    named = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        name = _name(table)
        if not table.catalog and (name in tables or (not table.db and name in named)):
            continue
        near = difflib.get_close_matches(name, tables, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(tables))}"
        raise SqlProblem(f"there is no table {table.sql(dialect=DIALECT)}", hint, _line(table))


def _sources(tree: exp.Query, tables: Mapping[str, Table]) -> dict[str, Table]:
    """The lake's tables in it. *Raises* `SqlProblem` where a name reaches none: one that a WITH elsewhere has given."""
    found: dict[str, Table] = {}
    resolved: set[int] = set()
    for scope in traverse_scope(tree):
        for node, source in scope.selected_sources.values():
            if isinstance(source, Scope):
                resolved.add(id(node))
            elif isinstance(source, exp.Table) and _name(source) in tables:
                found[_name(source)] = tables[_name(source)]
                resolved.add(id(source))
    for table in tree.find_all(exp.Table):
        if id(table) not in resolved:
            raise SqlProblem(f"there is no table {table.name} here", f"there are: {', '.join(sorted(tables))}")
    return found


def _name(table: exp.Table) -> str:
    return f"{table.db}.{table.name}".lower().removeprefix(".")


def _unresolved(error: OptimizeError, tree: exp.Query, tables: Mapping[str, Table]) -> SqlProblem:
    """A column that is not there, as far as the error tells."""
    text = _first_line(error)
    name = found[1].strip() if (found := _COLUMN.search(text)) else ""
    column = next((c for c in tree.find_all(exp.Column) if c.name.lower() == name.lower()), None)
    if not name or column is None:
        line = _LINE.search(text)
        return SqlProblem(text, line=int(line[1]) if line else 0)
    asked = {_name(table) for table in tree.find_all(exp.Table)}
    known = {column for table in asked & {*tables} for column in tables[table].columns}
    if name.lower() in known:
        hint = "name the table too: p.column"
        return SqlProblem(f"it cannot be told which table column {name} is of here", hint, _line(column))
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"{', '.join(sorted(asked))} have: {', '.join(sorted(known))}"
    return SqlProblem(f"there is no column {name} here", hint, _line(column))


def _line(node: exp.Expr) -> int:
    """Where it is, or the first thing in it that knows."""
    return next((line for each in _around(node) if (line := each.meta.get("line"))), 0)


def _around(node: exp.Expr) -> Iterable[exp.Expr]:
    yield from node.walk()
    above = node.parent
    while above is not None:
        yield from above.walk()
        above = above.parent


def _words(kind: type[exp.Expr]) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).upper()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
