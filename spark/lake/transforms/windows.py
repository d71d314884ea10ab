"""Rows of gold: the KPIs of metrics.yaml by window and by day, from silver.

Each table of the plan (`dataforge.kpi.plan`) is added up once, at the largest grain that all its windows are whole
numbers of; the windows are then added up from these panes.
"""

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from functools import reduce
from math import gcd
from operator import or_
from typing import Any
from zlib import crc32

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dataforge.contracts.model import EventType, MeasureKind
from dataforge.kpi.catalogue import duration_text
from dataforge.kpi.columns import Column as Measured
from dataforge.kpi.plan import Plan, Table, View

from lake.schema import GOLD
from lake.transforms.caps import Beyond, shared
from lake.transforms.measure import LABELS, is_whole, labelled, measured, merged
from lake.transforms.sketches import shown
from lake.when import DAY_MS

_CELL = (
    "struct<metric: string, top: decimal(38,0), bottom: decimal(38,0), value: double, sketch: binary, shown: string>"
)


def sizes_of(table: Table) -> tuple[int, ...]:
    """Its windows, and the day."""
    return tuple(sorted({*table.windows_ms, DAY_MS}))


def stamp(plan: Plan) -> str:
    """The same for plans that make the same gold of the same silver."""
    said: list[Any] = [column.name for column in GOLD]
    said += [
        (
            *(name, by, view.metric.measure, view.table.where, view.table.windows_ms),
            *([(d.name, d.field, d.lookup is None) for d in view.table.dimensions], _columns(view)),
        )
        for (name, by), view in sorted(plan.views.items())
    ]
    return f"{crc32(repr(said).encode()):08x}"


def _columns(view: View) -> list[Measured]:
    return [view.table.columns[at - 1] for at in view.columns]


def gold_rows(silver: DataFrame, plan: Plan, beyond: Beyond | None = None) -> DataFrame:
    """*Shape*: `GOLD`; one row per metric, dimension set, window size, window and labels.

    With `beyond` (table id -> the labels beyond its cap), these share `__other__`, as in the live numbers.
    """
    frames = [
        _of_table(silver, plan.event, table, [v for v in plan.views.values() if v.table is table], beyond or {})
        for table in plan.tables
    ]
    if not frames:
        return silver.sparkSession.createDataFrame([], ", ".join(f"{c.name} {c.type}" for c in GOLD))
    rows = frames[0]
    for frame in frames[1:]:
        rows = rows.unionByName(frame)
    return rows


def start_of(at_ms: Column, size_ms: Column | int) -> Column:
    """The start of the window that an instant is in; windows are aligned to the epoch."""
    return at_ms - at_ms % size_ms


def _of_table(silver: DataFrame, event: EventType, table: Table, views: list[View], beyond: Beyond) -> DataFrame:
    columns = dict(enumerate(table.columns, start=1))
    rows = labelled(silver, event, table)
    if table.id in beyond:
        rows = shared(rows, beyond[table.id])
    sizes = sizes_of(table)
    pane = start_of(F.unix_millis(F.col("df_time")), gcd(*sizes)).alias("pane_ms")
    panes = rows.groupBy(pane, LABELS).agg(*(measured(event, c).alias(_cell(at)) for at, c in columns.items()))
    sized = panes.withColumn("size_ms", F.explode(F.array(*map(_long, sizes))))
    start = start_of(F.col("pane_ms"), F.col("size_ms")).alias("start_ms")
    windows = sized.groupBy("size_ms", start, LABELS).agg(
        *(merged(c, _cell(at)).alias(_cell(at)) for at, c in columns.items())
    )
    windows = windows.withColumns(
        {_shown(view): shown(view.metric.measure, F.col(_cell(view.columns[0]))) for view in views if _is_shown(view)}
    )
    cells = F.array(*(_metric(event, view) for view in views))
    rows = windows.withColumn("cell", F.explode(cells)).select("*", "cell.*")
    named = {size: duration_text(size) for size in sizes}
    said = {
        "labels": F.col(LABELS),
        "by": F.array(*(F.lit(d.name) for d in table.dimensions)).cast("array<string>"),
        "window": F.create_map(*(part for size, text in named.items() for part in (_long(size), F.lit(text))))[
            F.col("size_ms")
        ],
        "start": F.timestamp_millis(F.col("start_ms")),
        "day": F.to_date(F.timestamp_millis(F.col("start_ms"))),
    }
    return rows.withColumns(said).select(*(column.name for column in GOLD))


def _long(number: int) -> Column:
    return F.lit(number).cast("bigint")


def _cell(at: int) -> str:
    return f"c{at}"


def _shown(view: View) -> str:
    return f"shown {view.metric.name}"


def _is_shown(view: View) -> bool:
    """Whether its value is more than a number."""
    return view.metric.measure.kind in (MeasureKind.QUANTILES, MeasureKind.TOP_K)


def _metric(event: EventType, view: View) -> Column:
    """One metric of a window: its exact parts, and what the API would show."""
    cells = [F.col(_cell(at)) for at in view.columns]
    kind, nothing = view.metric.measure.kind, F.lit(None)
    top, bottom, sketch = nothing, nothing, nothing
    if kind.sketched:
        sketch = cells[0]
    elif is_whole(event, view.table.columns[view.columns[0] - 1]):
        top = cells[0]
        bottom = cells[1] if len(cells) > 1 else nothing
    said = F.struct(
        F.lit(view.metric.name).alias("metric"), top.alias("top"), bottom.alias("bottom"),
        _value(view, cells).alias("value"), sketch.alias("sketch"),
        (F.col(_shown(view)) if _is_shown(view) else nothing).alias("shown"),
    )  # fmt: skip
    return said.cast(_CELL)


def _value(view: View, cells: list[Column]) -> Column:
    first = cells[0]
    match view.metric.measure.kind:
        case MeasureKind.DISTINCT:
            # A sketch fed by one stream uses another estimator than a union, which is what the API shows.
            return F.hll_sketch_estimate(F.hll_union(first, first)).cast("double")
        case MeasureKind.QUANTILES | MeasureKind.TOP_K:
            return F.lit(None)
        case MeasureKind.AVG:
            return _divided(first, 0, cells[1], view.scales[0])
        case MeasureKind.RATIO:
            return _divided(first, view.scales[1], cells[1], view.scales[0])
        case _:
            return first.cast("double") / F.lit(float(10 ** view.scales[0]))


def _divided(top: Column, top_scale: int, bottom: Column, bottom_scale: int) -> Column:
    """Null where nothing is below."""
    above, below = (
        c.cast("double") * F.lit(float(10**scale)) for c, scale in ((top, top_scale), (bottom, bottom_scale))
    )
    return F.when(bottom != 0, above / below)


def days_of(times: DataFrame, plan: Plan) -> DataFrame:
    """The days on which a window begins that holds one of these instants (`df_time`). *Shape*: `day`, each once."""
    starts = F.array(*(_day(size) for size in _sizes(plan)))
    return times.select(F.explode(starts).alias("day")).distinct()


def on_days(silver: DataFrame, plan: Plan, days: Collection[date]) -> DataFrame:
    """The rows of every window that begins on one of these days."""
    sizes = _sizes(plan)
    first = datetime.combine(min(days), time(), UTC)
    last = datetime.combine(max(days), time(), UTC) + timedelta(days=1, milliseconds=max(sizes))
    near = f"df_time >= TIMESTAMP'{first.isoformat()}' AND df_time < TIMESTAMP'{last.isoformat()}'"
    # The range is for the partitions, which Spark cannot tell from the days of windows.
    return silver.where(near).where(reduce(or_, (_day(size).isin(*days) for size in sizes)))


def _sizes(plan: Plan) -> list[int]:
    return sorted({size for table in plan.tables for size in sizes_of(table)})


def _day(size_ms: int) -> Column:
    """Of the window that a row of silver is in."""
    return F.to_date(F.timestamp_millis(start_of(F.unix_millis(F.col("df_time")), size_ms)))
