"""Rows of gold: the KPIs of metrics.yaml by window and by day, from silver.

Each table of the plan (`dataforge.kpi.plan`) is added up once, at the largest grain that all its windows are whole
numbers of; the windows are then added up from these panes.
"""

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from functools import reduce
from math import gcd
from operator import or_

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dataforge.contracts.model import EventType, MeasureKind
from dataforge.kpi.catalogue import duration_text
from dataforge.kpi.columns import Column as Measured
from dataforge.kpi.plan import Plan, Table, View

from lake.schema import GOLD
from lake.transforms.measure import COMPUTED, holds, is_whole, label, measured, merged

DAY_MS = 86_400_000
_CELL = "struct<metric: string, top: decimal(38,0), bottom: decimal(38,0), value: double, sketch: binary>"


def sizes_of(table: Table) -> tuple[int, ...]:
    """Its windows, and the day."""
    return tuple(sorted({*table.windows_ms, DAY_MS}))


def computed(plan: Plan) -> list[View]:
    """The views that gold has."""
    return [view for view in plan.views.values() if all(c.kind in COMPUTED for c in _columns(view))]


def _columns(view: View) -> list[Measured]:
    return [view.table.columns[at - 1] for at in view.columns]


def gold_rows(silver: DataFrame, plan: Plan) -> DataFrame:
    """*Shape*: `GOLD`; one row per metric, dimension set, window size, window and labels."""
    views = computed(plan)
    tables = {view.table.id: view.table for view in views}
    frames = [_of_table(silver, plan.event, table, [v for v in views if v.table is table]) for table in tables.values()]
    if not frames:
        return silver.sparkSession.createDataFrame([], ", ".join(f"{c.name} {c.type}" for c in GOLD))
    rows = frames[0]
    for frame in frames[1:]:
        rows = rows.unionByName(frame)
    return rows


def start_of(at_ms: Column, size_ms: Column | int) -> Column:
    """The start of the window that an instant is in; windows are aligned to the epoch."""
    return at_ms - at_ms % size_ms


def _of_table(silver: DataFrame, event: EventType, table: Table, views: list[View]) -> DataFrame:
    used = sorted({at for view in views for at in view.columns})
    columns = {at: table.columns[at - 1] for at in used}
    for condition in table.where:
        silver = silver.where(holds(event, condition))
    sizes = sizes_of(table)
    pane = start_of(F.unix_millis(F.col("df_time")), gcd(*sizes)).alias("pane_ms")
    labels = F.array(*(label(event, dimension) for dimension in table.dimensions)).cast("array<string>").alias("labels")
    panes = silver.groupBy(pane, labels).agg(*(measured(event, c).alias(_cell(at)) for at, c in columns.items()))
    sized = panes.withColumn("size_ms", F.explode(F.array(*map(_long, sizes))))
    start = start_of(F.col("pane_ms"), F.col("size_ms")).alias("start_ms")
    windows = sized.groupBy("size_ms", start, "labels").agg(
        *(merged(c, _cell(at)).alias(_cell(at)) for at, c in columns.items())
    )
    cells = F.array(*(_metric(event, view) for view in views))
    rows = windows.withColumn("cell", F.explode(cells)).select("*", "cell.*")
    named = {size: duration_text(size) for size in sizes}
    said = {
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


def _metric(event: EventType, view: View) -> Column:
    """One metric of a window: its exact parts, and what the API would show."""
    cells = [F.col(_cell(at)) for at in view.columns]
    kind, nothing = view.metric.measure.kind, F.lit(None)
    top, bottom, sketch = nothing, nothing, nothing
    if kind is MeasureKind.DISTINCT:
        sketch = cells[0]
    elif is_whole(event, view.table.columns[view.columns[0] - 1]):
        top = cells[0]
        bottom = cells[1] if len(cells) > 1 else nothing
    said = F.struct(
        F.lit(view.metric.name).alias("metric"), top.alias("top"), bottom.alias("bottom"),
        _value(view, cells).alias("value"), sketch.alias("sketch"),
    )  # fmt: skip
    return said.cast(_CELL)


def _value(view: View, cells: list[Column]) -> Column:
    first = cells[0]
    match view.metric.measure.kind:
        case MeasureKind.DISTINCT:
            # A sketch fed by one stream uses another estimator than a union, which is what the API shows.
            return F.hll_sketch_estimate(F.hll_union(first, first)).cast("double")
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
    return sorted({size for view in computed(plan) for size in sizes_of(view.table)})


def _day(size_ms: int) -> Column:
    """Of the window that a row of silver is in."""
    return F.to_date(F.timestamp_millis(start_of(F.unix_millis(F.col("df_time")), size_ms)))
