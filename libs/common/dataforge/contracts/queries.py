"""Reads `queries/*.sql`: questions that have a name. The grammar is docs/specs/queries.md."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from dataforge.contracts.document import Node, Section, document_of
from dataforge.contracts.model import EventType, Parameter, Query
from dataforge.contracts.names import NAME_RULE, is_name
from dataforge.contracts.problems import Problems, suggestion
from dataforge.sql.problem import SqlProblem
from dataforge.sql.tables import Table, tables_of
from dataforge.sql.values import value_of

TYPES = ("date", "timestamp", "integer", "number", "text", "enum")
_LIMITED = ("date", "timestamp", "integer", "number")
MAX_ROWS, DEFAULT_ROWS = 100_000, 1_000
_HEADER = re.compile(r"\s*/\*(.*?)\*/", re.DOTALL)


def read_queries(folder: Path, events: Sequence[EventType], problems: Problems) -> dict[str, Query]:
    """By name, in the order of names. A domain without the folder has none."""
    tables, found = tables_of(events), dict[str, Query]()
    for file in sorted((folder / "queries").glob("*.sql")):
        if not is_name(file.stem):
            problems.add(file, 0, f"a query's file is named <query>.sql, and a query is {NAME_RULE}")
        elif query := _read(file, tables, problems):
            found[query.name] = query
    return found


def _read(file: Path, tables: Mapping[str, Table], problems: Problems) -> Query | None:
    before = len(problems.found)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.add(file, 0, f"cannot be read: {error}")
        return None
    header = _HEADER.match(text)
    if header is None:
        problems.add(file, 1, "a query begins with /* … */: its description, and its parameters, as YAML")
        return None
    lines = text[: header.start(1)].count("\n")
    root = document_of("\n" * lines + header[1], file, problems)
    section = Section(root or Node(file, 1, None), "the header", problems)
    description = section.scalar("description", str)
    parameters = _parameters(section)
    max_rows = section.scalar("max_rows", int, DEFAULT_ROWS)
    section.finish()
    if not 1 <= max_rows <= MAX_ROWS:
        section.problem(f"max_rows is 1 to {MAX_ROWS:,}", section.get("max_rows"))
    if len(problems.found) > before:
        return None
    query = Query(file.stem, description, text, parameters, max_rows)
    _demand_sound(query, section, tables)
    return query if len(problems.found) == before else None


def _demand_sound(query: Query, section: Section, tables: Mapping[str, Table]) -> None:
    """Only now: who reads no queries need not load a parser of SQL."""
    from dataforge.sql.statement import is_parameter_name, read

    declared = section.section("parameters")
    nodes = declared.entries if declared else {}
    for name in query.parameters:
        if not is_parameter_name(name):
            section.problem(f"parameter {name!r} is a word of SQL's own; take another name", nodes.get(name))
            return
    try:
        statement = read(query.sql, tables, query.parameters)
    except SqlProblem as problem:
        file = section.node.file
        section.problems.add(file, problem.line, str(problem))
        return
    for name in query.parameters.keys() - statement.parameters:
        section.problem(f"parameter {name!r} is not used", nodes.get(name))


def _parameters(section: Section) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for name, node in section.section("parameters") or ():
        spec = Section(node, f"parameter {name!r}", section.problems)
        if not is_name(name):
            spec.problem(f"parameter {name!r}: a name is {NAME_RULE}")
        if parameter := _parameter(name, spec):
            found[name] = parameter
    return found


def _parameter(name: str, spec: Section) -> Parameter | None:
    before = len(spec.problems.found)
    node = spec.get("type")
    plain = node.plain if node else None
    many = isinstance(plain, list) and len(plain) == 1
    kind = plain[0] if isinstance(plain, list) and many else plain
    description = spec.scalar("description", str, "")
    allowed = tuple(spec.sequence("allowed"))
    if kind not in TYPES:
        there = f"one of {', '.join(TYPES)}, or a list of one of them: [integer]"
        spec.problem(f"{spec.what} needs a 'type', {there}{_meant(kind)}", node)
        return None
    if (kind == "enum") != bool(allowed):
        spec.problem(f"{spec.what}: an enum, and nothing else, lists what is 'allowed'", spec.get("allowed"))
    if any(not isinstance(each.value, str) for each in allowed):
        spec.problem(f"{spec.what}: what is allowed is text; put it into quotes", spec.get("allowed"))
    limits = {key: spec.get(key) for key in ("min", "max")}
    spec.get("default")
    spec.finish()
    if any(limits.values()) and kind not in _LIMITED:
        spec.problem(f"{spec.what}: min and max are for {', '.join(_LIMITED)}", limits["min"] or limits["max"])
    if len(spec.problems.found) > before:
        return None
    texts = tuple(str(each.value) for each in allowed)
    one = Parameter(name, cast("Any", kind), allowed=texts, description=description)
    least, most = (_value(one, limits[key], spec) for key in ("min", "max"))
    whole = Parameter(
        name, cast("Any", kind), many, "default" not in spec.entries, None, least, most, texts, description
    )
    default = spec.entries.get("default")
    value = None if default is None or default.value is None else _value(whole, default, spec)
    return Parameter(name, whole.type, many, whole.required, value, least, most, texts, description)


def _value(parameter: Parameter, node: Node | None, spec: Section) -> Any:
    if node is None:
        return None
    try:
        return value_of(parameter, node.plain)
    except SqlProblem as problem:
        spec.problem(f"{spec.what}: {problem}", node)
        return None


def _meant(kind: Any) -> str:
    return suggestion(kind, TYPES) if isinstance(kind, str) else ""
