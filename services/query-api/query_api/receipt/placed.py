"""Which windows a counted event is in: tables, starts and labels, as the aggregator groups them. Pure."""

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from dataforge.contracts.compile import projection
from dataforge.contracts.model import Condition, Dimension
from dataforge.kpi.columns import short_label
from dataforge.kpi.plan import Plan

_OPS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
    "in": lambda value, among: value in among, "not_in": lambda value, among: value not in among,
}  # fmt: skip


class Window(NamedTuple):
    table: str
    metrics: tuple[str, ...]
    by: tuple[str, ...]
    size_ms: int
    start_ms: int
    label: tuple[str, ...]

    @property
    def key(self) -> str:
        """The row's label as it is stored."""
        return msgspec.json.encode(self.label).decode()


def windows_of(plan: Plan, value: bytes, at_ms: int) -> Iterator[Window]:
    """Every window of an event that was counted. Past a table's cap of labels, its row is that of `__other__`."""
    event = plan.event
    dimensions = {d.name: d for table in plan.tables for d in table.dimensions}
    fields = {d.field for d in dimensions.values()} | {c.field for table in plan.tables for c in table.where}
    found = projection(event.contract, fields)
    decoded = found.decoder.decode(value)
    raw = {field: getattr(decoded, attribute) for field, attribute in found.attributes.items()}
    labels = {name: short_label(_label(d, raw[d.field])) for name, d in dimensions.items()}
    for table in plan.tables:
        if not all(_holds(condition, raw) for condition in table.where):
            continue
        by = tuple(d.name for d in table.dimensions)
        metrics = tuple(sorted({metric for (metric, _), view in plan.views.items() if view.table.id == table.id}))
        for size in table.windows_ms:
            yield Window(table.id, metrics, by, size, at_ms - at_ms % size, tuple(labels[name] for name in by))


def _holds(condition: Condition, raw: Mapping[str, Any]) -> bool:
    value = raw[condition.field]
    return value is not None and _OPS[condition.op](value, condition.value)


def _label(dimension: Dimension, raw: Any) -> Any:
    if dimension.lookup is None:
        return raw
    return None if raw is None else dimension.lookup.get(str(raw))
