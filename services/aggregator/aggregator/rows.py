"""Compiles what a commit does with each row of a table: a row begins, takes pending values, becomes bytes. Pure.

Where a metric has many labels a commit has nearly as many rows as it has events: loops over columns would cost more
than the events did (docs/adr/0005-compiled-fold.md).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from dataforge.kpi.columns import ALGEBRA, Column, ColumnKind
from dataforge.kpi.plan import Row, Table

_encode = msgspec.msgpack.Encoder().encode
_ADDED = (ColumnKind.COUNT, ColumnKind.SUM)
_COMPARED = {ColumnKind.MIN: "<", ColumnKind.MAX: ">"}


class Rows(NamedTuple):
    """Of one table. *Guarantees*: the same rows as by its columns' algebra, value by value."""

    begin: Callable[[list[Any]], Row]
    """A row of its first pending values."""
    add: Callable[[Row, list[Any]], None]
    encode: Callable[[Row], bytes]
    """As it is stored."""


def compile_rows(table: Table) -> Rows:
    """*Source* of the text is our own plan: names in it are generated, values are closed-over constants."""
    constants = {f"{name}{i}": part for i, column in enumerate(table.columns) for name, part in _parts(column).items()}
    begun = [_first(i, column.kind) for i, column in enumerate(table.columns)]
    added = [_further(i, column.kind) for i, column in enumerate(table.columns)]
    lines = [
        "def begin(v):",
        f"    return [0, {', '.join(begun)}]",
        "def add(row, v):",
        *(f"    {line}" for line in added),
    ]
    namespace: dict[str, Any] = dict(constants)
    exec(compile("\n".join(lines), f"<rows of {table.id}>", "exec"), namespace)  # noqa: S102
    exact = all(column.kind in _ADDED or column.kind in _COMPARED for column in table.columns)
    return Rows(
        namespace["begin"], namespace["add"], _plainly(table) if exact else lambda row: _encode(table.store(row))
    )


def _parts(column: Column) -> dict[str, Any]:
    algebra = ALGEBRA[column.kind]
    return {"held": algebra.held, "absorb": algebra.absorb}


def _first(i: int, kind: ColumnKind) -> str:
    exact = kind in _ADDED or kind in _COMPARED
    return f"v[{i}]" if exact else f"absorb{i}(held{i}(), v[{i}])"


def _further(i: int, kind: ColumnKind) -> str:
    cell, value = f"row[{i + 1}]", f"v[{i}]"
    if kind in _ADDED:
        return f"{cell} += {value}"
    if beyond := _COMPARED.get(kind):
        return f"if {value} is not None and ({cell} is None or {value} {beyond} {cell}): {cell} = {value}"
    return f"{cell} = absorb{i}({cell}, {value})"


def _plainly(table: Table) -> Callable[[Row], bytes]:
    """What is held of exact measures is what is stored, but for sums that 64 bits do not hold."""

    def encode(row: Row) -> bytes:
        try:
            return _encode(row)
        except OverflowError:
            return _encode(table.store(row))

    return encode
