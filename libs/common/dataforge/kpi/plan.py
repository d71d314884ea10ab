"""From the metrics of an event to tables: rows of columns per window and label. *Source*: docs/specs/state.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any
from zlib import crc32

from dataforge.contracts.model import Condition, Contract, Dimension, EventType, MeasureKind, Metric, Rolling
from dataforge.kpi.columns import (
    ALGEBRA,
    HLL_ERROR,
    KLL_ERROR,
    Column,
    ColumnKind,
    distinct_of,
    quantiles_of,
    top_of,
)

Row = list[Any]
"""[revision, column, column, …], columns in held form."""


@dataclass(frozen=True, slots=True)
class Table:
    """Metrics that share dimensions, filter and windows share a table."""

    id: str
    dimensions: tuple[Dimension, ...]
    where: tuple[Condition, ...]
    windows_ms: tuple[int, ...]
    columns: tuple[Column, ...]

    @property
    def pane_ms(self) -> int:
        """The grain events are folded at; every window is a whole number of panes."""
        return gcd(*self.windows_ms)

    def empty_row(self) -> Row:
        return [0, *(ALGEBRA[c.kind].held() for c in self.columns)]

    def store(self, row: Row) -> Row:
        return [row[0], *(ALGEBRA[c.kind].store(v) for c, v in zip(self.columns, row[1:], strict=True))]

    def restore(self, row: Row) -> Row:
        return [row[0], *(ALGEBRA[c.kind].restore(v) for c, v in zip(self.columns, row[1:], strict=True))]


@dataclass(frozen=True, slots=True)
class View:
    """How one metric, by one dimension set, is read from its table."""

    metric: Metric
    by: tuple[str, ...]
    table: Table
    columns: tuple[int, ...]
    """Positions in a row of what the measure needs."""
    scales: tuple[int, ...]

    def value(self, row: Row) -> Any:
        """The metric's value of a held row, in the unit of the event's field (not scaled)."""
        kind = self.metric.measure.kind
        values = [row[i] for i in self.columns]
        match kind:
            case MeasureKind.COUNT:
                return values[0]
            case MeasureKind.SUM | MeasureKind.MIN | MeasureKind.MAX:
                return unscaled(values[0], self.scales[0])
            case MeasureKind.AVG:
                return values[0] / (values[1] * 10 ** self.scales[0]) if values[1] else None
            case MeasureKind.RATIO:
                top, bottom = values
                return top * 10 ** self.scales[1] / (bottom * 10 ** self.scales[0]) if bottom else None
            case MeasureKind.DISTINCT:
                return distinct_of(values[0])
            case MeasureKind.QUANTILES:
                return quantiles_of(values[0], self.metric.measure.quantiles)
            case MeasureKind.TOP_K:
                return top_of(values[0], self.metric.measure.k)

    def error(self) -> dict[str, Any] | None:
        """The error the platform stands for; None where the value is exact."""
        match self.metric.measure.kind:
            case MeasureKind.DISTINCT:
                return {"kind": "relative", "bound": HLL_ERROR}
            case MeasureKind.QUANTILES:
                return {"kind": "rank", "bound": KLL_ERROR}
            case MeasureKind.TOP_K:
                return {"kind": "count", "bound": "each item's true count lies within [lower, upper]"}
            case _:
                return None


def unscaled(value: int | float | None, scale: int) -> int | float | None:
    return value if value is None or scale == 0 else value / 10**scale


@dataclass(frozen=True, slots=True)
class Plan:
    """All tables of an event type, and the views its metrics are."""

    event: EventType
    tables: tuple[Table, ...]
    views: dict[tuple[str, tuple[str, ...]], View]

    def view(self, metric: str, by: Sequence[str] = ()) -> View:
        """*Raises* KeyError, its text naming what there is."""
        found = self.views.get((metric, tuple(by)))
        if found:
            return found
        sets = sorted(",".join(b) or "(total)" for name, b in self.views if name == metric)
        if sets:
            raise KeyError(
                f"metric {metric!r} is not kept by {','.join(by) or '(total)'}; it is kept by: {'; '.join(sets)}"
            )
        raise KeyError(f"no metric {metric!r}; there are: {', '.join(sorted({name for name, _ in self.views}))}")


def _scale(contract: Contract, terms: tuple[tuple[int, str], ...]) -> int:
    return max(contract.fields[name].scale for _, name in terms)


def columns_of(metric: Metric, contract: Contract) -> tuple[Column, ...]:
    """What a metric needs added up, in the order `View.value` reads it."""
    measure = metric.measure

    def summed(terms: tuple[tuple[int, str], ...]) -> Column:
        return Column(ColumnKind.SUM, terms, _scale(contract, terms))

    one: tuple[tuple[int, str], ...] = ((1, measure.field),) if measure.field else ()
    match measure.kind:
        case MeasureKind.COUNT:
            return (Column(ColumnKind.COUNT, one),)
        case MeasureKind.SUM:
            return (summed(one),)
        case MeasureKind.AVG:
            return (summed(one), Column(ColumnKind.COUNT, one))
        case MeasureKind.RATIO:
            return (summed(measure.numerator), summed(measure.denominator))
        case MeasureKind.MIN | MeasureKind.MAX:
            return (Column(ColumnKind(measure.kind.value), one, _scale(contract, one)),)
        case MeasureKind.DISTINCT:
            return (Column(ColumnKind.HLL, one),)
        case MeasureKind.QUANTILES:
            return (Column(ColumnKind.KLL, one, _scale(contract, one)),)
        case MeasureKind.TOP_K:
            return (Column(ColumnKind.FREQUENT, one),)


_Key = tuple[tuple[str, ...], tuple[Condition, ...], tuple[int, ...], tuple[Rolling, ...]]


def plan(event: EventType) -> Plan:
    """Group metrics into tables. Pure, and the same for the same metrics in any order."""
    groups: dict[_Key, dict[str, Column]] = {}
    for metric in sorted(event.metrics.values(), key=lambda m: m.name):
        for by in metric.by:
            columns = groups.setdefault((by, metric.where, metric.windows_ms, metric.rolling), {})
            columns.update({c.name: c for c in columns_of(metric, event.contract)})
    tables: dict[_Key, Table] = {}
    for key, columns in groups.items():
        by, where, windows, _ = key
        ordered = tuple(columns[name] for name in sorted(columns))
        stamp = crc32(repr((event.contract.name, where, windows, [c.name for c in ordered])).encode())
        tables[key] = Table(
            f"{','.join(by)}#{stamp:08x}", tuple(event.dimensions[d] for d in by), where, windows, ordered
        )
    views: dict[tuple[str, tuple[str, ...]], View] = {}
    for metric in event.metrics.values():
        needed = columns_of(metric, event.contract)
        for by in metric.by:
            table = tables[(by, metric.where, metric.windows_ms, metric.rolling)]
            at = {c.name: i for i, c in enumerate(table.columns, start=1)}
            views[(metric.name, by)] = View(
                metric, by, table, tuple(at[c.name] for c in needed), tuple(c.scale for c in needed)
            )
    return Plan(event, tuple(tables.values()), views)
