"""What the live fold adds up of an event, as columns over silver: labels, conditions, sums.

*Source*: docs/specs/domain.md.

Sums are whole numbers of the last digit, as the live numbers hold them, so both are equal to the bit.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import reduce
from operator import add
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dataforge.contracts.model import OTHER, UNKNOWN, Condition, Dimension, EventType
from dataforge.kpi.columns import HLL_LG_K, MAX_LABEL, ColumnKind, label_text
from dataforge.kpi.columns import Column as Measured
from dataforge.kpi.plan import Table

from lake.schema import column_of, dimension_column, quoted
from lake.transforms.sketches import KINDS, sketched, united

WHOLE = "decimal(38,0)"
LABELS = "df_labels"
"""No field has a column of this name."""

_COMPARE: Mapping[str, Callable[[Column, Any], Column]] = {
    "eq": lambda field, value: field == value,
    "ne": lambda field, value: field != value,
    "lt": lambda field, value: field < value,
    "le": lambda field, value: field <= value,
    "gt": lambda field, value: field > value,
    "ge": lambda field, value: field >= value,
    "in": lambda field, value: field.isin(*value),
    "not_in": lambda field, value: ~field.isin(*value),
}


def field_column(name: str) -> Column:
    return F.col(quoted(column_of(name)))


def labelled(rows: DataFrame, event: EventType, table: Table) -> DataFrame:
    """The rows that a table counts, with `df_labels`. *Shape*: array of string; empty for a total."""
    for condition in table.where:
        rows = rows.where(holds(event, condition))
    labels = F.array(*(label(event, dimension) for dimension in table.dimensions))
    return rows.withColumn(LABELS, labels.cast("array<string>"))


def label(event: EventType, dimension: Dimension) -> Column:
    """A dimension's label, as the live numbers write it."""
    text = F.coalesce(_text(event, dimension), F.lit(UNKNOWN))
    return F.when(F.length(text) <= MAX_LABEL, text).otherwise(F.lit(OTHER))


def _source(event: EventType, name: str) -> Dimension:
    """What a measure names: a field, or else a dimension."""
    return Dimension(name, name) if name in event.contract.fields else event.dimensions[name]


def _value(source: Dimension) -> Column:
    """Null where there is none, or the lookup does not hold it."""
    return field_column(source.field) if source.lookup is None else F.col(quoted(dimension_column(source.name)))


def _text(event: EventType, source: Dimension) -> Column:
    if source.lookup is not None or event.contract.fields[source.field].type != "number":
        return _value(source).cast("string")
    # Spark writes 1.0E10 where the platform writes 10000000000.0.
    written = F.udf(lambda number: None if number is None else label_text(number), "string")
    return written(_value(source).cast("double"))


def holds(event: EventType, condition: Condition) -> Column:
    """A null or missing field fulfils no condition: so it is in SQL too."""
    value, exact = condition.value, event.contract.fields[condition.field].scale > 0
    than = tuple(plain(v, exact) for v in value) if isinstance(value, tuple) else plain(value, exact)
    return _COMPARE[condition.op](field_column(condition.field), than)


def plain(value: Any, exact: bool) -> Any:
    """A decimal is compared with a decimal: beside a double, Spark would make it one."""
    return Decimal(repr(value)) if exact and isinstance(value, float) else value


def measured(event: EventType, column: Measured) -> Column:
    """The aggregate over silver's rows. *Shape*: `WHOLE`; a double where nothing says how many digits there are;
    a sketch's bytes.
    """
    if column.kind is ColumnKind.SUM:
        return F.sum(reduce(add, (_term(event, sign, name, column.scale) for sign, name in column.terms)))
    if not column.terms:
        return F.count(F.lit(1)).cast(WHOLE)
    name = column.terms[0][1]
    match column.kind:
        case ColumnKind.COUNT:
            return F.count(_value(_source(event, name))).cast(WHOLE)
        case ColumnKind.MIN:
            return F.min(_ordered(event, column))
        case ColumnKind.MAX:
            return F.max(_ordered(event, column))
        case ColumnKind.KLL:
            return sketched(column.kind, field_column(name).cast("double"))
        case ColumnKind.FREQUENT:
            return sketched(column.kind, _text(event, _source(event, name)))
        case _:
            return F.hll_sketch_agg(_text(event, _source(event, name)), HLL_LG_K)


def merged(column: Measured, name: str) -> Column:
    """The aggregate over what `measured` gave, in column `name`, for a larger window."""
    held = F.col(name)
    if column.kind in KINDS:
        return united(column.kind, held)
    match column.kind:
        case ColumnKind.MIN:
            return F.min(held)
        case ColumnKind.MAX:
            return F.max(held)
        case ColumnKind.HLL:
            return F.hll_union_agg(held)
        case _:
            return F.sum(held).cast(WHOLE)


def is_whole(event: EventType, column: Measured) -> bool:
    """False for the smallest or largest of numbers without stated digits: these are doubles."""
    if column.kind not in (ColumnKind.MIN, ColumnKind.MAX):
        return True
    field = event.contract.fields[column.terms[0][1]]
    return field.type == "integer" or field.scale > 0


def _ordered(event: EventType, column: Measured) -> Column:
    name = column.terms[0][1]
    return _whole(event, name, column.scale) if is_whole(event, column) else field_column(name)


def _term(event: EventType, sign: int, name: str, scale: int) -> Column:
    value = F.coalesce(_whole(event, name, scale), F.lit(0).cast(WHOLE))
    return value if sign > 0 else -value


def _whole(event: EventType, name: str, scale: int) -> Column:
    """A field as a whole number of 10^-scale. Exact: a decimal times a power of ten, without its then empty digits."""
    field = event.contract.fields[name]
    value = field_column(name).cast("decimal(20,0)") if field.type == "integer" else field_column(name)
    return (value * F.lit(Decimal(10**scale))).cast(WHOLE) if scale else value.cast(WHOLE)
