"""Compiles an event type's tables into one function that adds events to pending rows.

The tables are known when the domain is loaded and the loop runs once per event, so it is worth writing
it out: no calls, no loops over metrics, no lookups by name, no allocation but new rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataforge.contracts.model import Condition, EventType
from dataforge.kpi.columns import Column, ColumnKind
from dataforge.kpi.plan import Plan, Table

Pending = dict[int, dict[Any, list[Any]]]
"""Pane start in ms -> raw label -> columns. A raw label is a value, a tuple of values, or () for a total."""
Revised = tuple[int, int, Any, int]
"""(index of the table, pane, raw label, watermark at that moment) of an event that came after its pane's end."""
Begun = list[Any]
"""The raw labels of a table's pending rows, in the order of the log."""
Contribute = Callable[
    [Sequence[Any], Sequence[int], Sequence[int], int, int, list[Pending], list[Begun], list[Revised]], tuple[int, int]
]
"""(events, their times and the append times of their raw records, lateness and watermark (ms), pending rows per
table, their labels, revisions) → (watermark after them, how many of them came too late)
"""

_OPS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "in": "in", "not_in": "not in"}


def fields_used(plan: Plan) -> list[str]:
    """Every field of the event that some table reads, sorted."""
    names: set[str] = set()
    for table in plan.tables:
        names |= {d.field for d in table.dimensions} | {c.field for c in table.where}
        for column in table.columns:
            names |= {_field(plan.event, name) for _, name in column.terms}
    return sorted(names)


def _field(event: EventType, name: str) -> str:
    """A measure may name a dimension; what it reads is that dimension's field."""
    return event.dimensions[name].field if name in event.dimensions and name not in event.contract.fields else name


@dataclass
class _Writer:
    event: EventType
    attributes: Mapping[str, str]
    lines: list[str]
    constants: dict[str, Any]
    locals: dict[str, str]

    def local(self, key: str, expression: str) -> str:
        """A local variable for `expression`, written once."""
        if key not in self.locals:
            self.locals[key] = f"v{len(self.locals)}"
            self.lines.append(f"{self.locals[key]} = {expression}")
        return self.locals[key]

    def constant(self, value: Any) -> str:
        name = f"K{len(self.constants)}"
        self.constants[name] = value
        return name

    def raw(self, field: str) -> str:
        return self.local(f"raw {field}", f"e.{self.attributes[field]}")

    def nullable(self, field: str) -> bool:
        spec = self.event.contract.fields[field]
        return spec.nullable or not spec.required

    def scaled(self, field: str, scale: int) -> str:
        """The field as an integer of 10^-scale; None where it is null."""
        raw, own = self.raw(field), self.event.contract.fields[field].scale
        if not scale:
            return raw
        number = f"round({raw} * {10**own})" + (f" * {10 ** (scale - own)}" if scale > own else "")
        if self.nullable(field):
            number = f"None if {raw} is None else {number}"
        return self.local(f"scaled {field} {scale}", number)

    def source(self, name: str) -> tuple[str, bool]:
        """The variable of a field or dimension, and whether it can be None."""
        dimension = self.event.dimensions.get(name)
        if dimension is None or (name in self.event.contract.fields and dimension.lookup is None):
            return self.raw(name), self.nullable(name)
        if dimension.lookup is None:
            return self.raw(dimension.field), self.nullable(dimension.field)
        return self.looked_up(name), True

    def looked_up(self, name: str) -> str:
        dimension = self.event.dimensions[name]
        lookup: Mapping[Any, str] = dimension.lookup or {}
        raw, kind = self.raw(dimension.field), self.event.contract.fields[dimension.field].type
        if kind == "integer":
            lookup = {int(k): v for k, v in lookup.items()}
        elif kind != "string":
            raw = f"str({raw})"
        return self.local(f"lookup {name}", f"{self.constant(lookup)}.get({raw})")

    def label(self, table: Table) -> str:
        parts = [self.looked_up(d.name) if d.lookup is not None else self.raw(d.field) for d in table.dimensions]
        return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"

    def condition(self, clause: Condition) -> str:
        raw = self.raw(clause.field)
        test = f"{raw} {_OPS[clause.op]} {self.constant(clause.value)}"
        return f"{raw} is not None and {test}" if self.nullable(clause.field) else test

    def column(self, at: int, column: Column) -> tuple[str, list[str]]:
        """What `row[at]` is after a row's first event, and the statements that add a further one."""
        cell = f"row[{at}]"
        if column.kind is ColumnKind.SUM:
            return self._sum(cell, column)
        if not column.terms:
            return "1", [f"{cell} += 1"]
        name = column.terms[0][1]
        if column.kind in (ColumnKind.MIN, ColumnKind.MAX):
            value, beyond = self.scaled(name, column.scale), "<" if column.kind is ColumnKind.MIN else ">"
            if not self.nullable(name):
                return value, [f"if {value} {beyond} {cell}: {cell} = {value}"]
            better = f"{cell} is None or {value} {beyond} {cell}"
            return value, [f"if {value} is not None and ({better}): {cell} = {value}"]
        value, nullable = self.source(name)
        empty, first, further = {
            ColumnKind.COUNT: ("0", "1", f"{cell} += 1"),
            ColumnKind.HLL: ("set()", f"{{{value}}}", f"{cell}.add({value})"),
            ColumnKind.KLL: ("[]", f"[{value}]", f"{cell}.append({value})"),
            ColumnKind.FREQUENT: ("{}", f"{{{value}: 1}}", f"{cell}[{value}] = {cell}.get({value}, 0) + 1"),
        }[column.kind]
        if not nullable:
            return first, [further]
        return f"{empty} if {value} is None else {first}", [f"if {value} is not None: {further}"]

    def _sum(self, cell: str, column: Column) -> tuple[str, list[str]]:
        first, further = "0", list[str]()
        for sign, name in column.terms:
            value, plus = self.scaled(name, column.scale), "+" if sign > 0 else "-"
            nullable = self.nullable(name)
            first += f" {plus} (0 if {value} is None else {value})" if nullable else f" {plus} {value}"
            further.append(f"{f'if {value} is not None: ' if nullable else ''}{cell} {plus}= {value}")
        return first, further


def contribution_source(plan: Plan, attributes: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The function's text and the constants it closes over."""
    w = _Writer(plan.event, attributes, [], {}, {})
    tables = [line for n, table in enumerate(plan.tables) for line in _table(w, n, table)]
    sizes = dict.fromkeys(table.pane_ms for table in plan.tables)
    panes = [line for size in sizes for line in _pane(plan, size)]
    lines = [
        "def contribute(events, times, appended, lateness, watermark, pending, begun, revised):",
        "    late = 0",
        *(f"    pending{n}, begun{n} = pending[{n}], begun[{n}]" for n in range(len(plan.tables))),
        *(f"    start{size} = end{size} = 0" for size in sizes),
        "    for e, t, now in zip(events, times, appended, strict=True):",
        "        if t + lateness <= watermark:",
        "            late += 1",
        "            continue",
        *(f"        {line}" for line in (*panes, *w.lines, *tables)),
        "        if t > watermark < now: watermark = t if t < now else now",
        "    return watermark, late",
    ]
    return "\n".join([*lines, ""]), w.constants


def _pane(plan: Plan, size: int) -> list[str]:
    """Nearly always an event is in the pane of the one before it, and finds that pane's rows at hand."""
    tables = [n for n, table in enumerate(plan.tables) if table.pane_ms == size]
    return [
        f"if not start{size} <= t < end{size}:",
        f"    start{size} = t - t % {size}",
        f"    end{size} = start{size} + {size}",
        *(f"    rows{n} = pending{n}.get(start{size})" for n in tables),
    ]


def _table(w: _Writer, n: int, table: Table) -> list[str]:
    """Adds event `e` of time `t` to the table's pending rows."""
    label, conditions = w.label(table), [w.condition(c) for c in table.where]
    columns = [w.column(at, column) for at, column in enumerate(table.columns)]
    lines = [
        f"if rows{n} is None: rows{n} = pending{n}[start{table.pane_ms}] = {{}}",
        f"row = rows{n}.get(label := {label})",
        "if row is None:",
        f"    rows{n}[label] = [{', '.join(first for first, _ in columns)}]",
        f"    begun{n}.append(label)",
        "else:",
        *(f"    {statement}" for _, further in columns for statement in further),
        f"if end{table.pane_ms} <= watermark: revised.append(({n}, start{table.pane_ms}, label, watermark))",
    ]
    return [f"if {' and '.join(conditions)}:", *(f"    {line}" for line in lines)] if conditions else lines


def compile_contribution(plan: Plan, attributes: Mapping[str, str]) -> Contribute:
    """*Source* of the text is our own plan; names in it are generated, values are closed-over constants."""
    source, constants = contribution_source(plan, attributes)
    namespace: dict[str, Any] = dict(constants)
    exec(compile(source, f"<contribution of {plan.event.contract.name}>", "exec"), namespace)  # noqa: S102
    return namespace["contribute"]
