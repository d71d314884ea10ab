"""What is so with silver's events of the last days: one number for each expectation of quality.yaml.

History is silver itself: what came late has its place in it by now, and there is no second record to disagree.
A day is UTC's, by event time. The newest event's day is not over; the one before is the last whole day.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dataforge.contracts.model import EventType, Expectation, ExpectationKind

from lake.drift import BINS, LEAST_ROWS, Counts, History, history, shift
from lake.schema import quoted
from lake.transforms.checks import checked, fails, of_expectation
from lake.transforms.measure import field_column
from lake.when import DAY_MS

_DAY, _VALUE = "df_day", "df_value"
_COMMON = 20
"""So many of the most frequent texts have a bin of their own; the others share one."""
_ACCURACY = 10_000
"""Of the limits between bins of numbers: within 1/10,000 of rank."""


class Observed(NamedTuple):
    value: float | None
    """None where there is too little to tell by."""
    rows: int = 0
    """Events it was asked of."""
    failed: int | None = None
    """Those of them that do not meet it, where each does or does not by itself."""


class Seen(NamedTuple):
    rows: int
    """Events of all days that any expectation looks at."""
    numbers: Mapping[str, Observed]
    """By expectation."""


def observed(silver: DataFrame, event: EventType, now_ms: int) -> Seen:
    """Reads the days that the expectations look at once. `now_ms`: what freshness is measured from."""
    expectations = event.expectations
    newest_ms = _newest_ms(silver)
    if newest_ms is None:
        return Seen(0, {one.name: Observed(None) for one in expectations})
    today = newest_ms // DAY_MS
    first = today - max((one.days for one in expectations), default=0) + 1
    recent = _recent(silver, event, first).persist()
    try:
        numbers: dict[str, Observed] = {}
        by_day = {row[_DAY]: row["count"] for row in recent.groupBy(_DAY).count().collect()}
        numbers |= _of_rows_and_means(recent, event, today)
        for one in expectations:
            match one.kind:
                case ExpectationKind.FRESHNESS:
                    numbers[one.name] = Observed((now_ms - newest_ms) / 1_000, 1)
                case ExpectationKind.UNIQUENESS:
                    numbers[one.name] = _unique(recent.where(_within(one, today)), one.fields)
                case ExpectationKind.VOLUME:
                    found = history(by_day, today, one.days)
                    numbers[one.name] = Observed(found and found.ratio, found.rows if found else 0)
                case ExpectationKind.DRIFT:
                    numbers[one.name] = _drifted(recent, event, one, history(by_day, today, one.days))
        return Seen(sum(by_day.values()), numbers)
    finally:
        recent.unpersist()


def _newest_ms(silver: DataFrame) -> int | None:
    """Never ahead of its record's append time, as a watermark is not."""
    [row] = silver.agg(F.max(F.least(F.unix_millis("df_time"), F.unix_millis("df_ts"))).alias("at_ms")).collect()
    return row["at_ms"]


def _recent(silver: DataFrame, event: EventType, first: int) -> DataFrame:
    """From the day `first` on, with `df_failed` and `df_day`, days since the epoch."""
    day = F.floor(F.unix_millis("df_time") / DAY_MS).cast("bigint")
    rows = silver.where(F.col("df_time") >= F.timestamp_millis(F.lit(first * DAY_MS)))
    used = {name for one in event.expectations for name in one.fields}
    fields = [field_column(name) for name in event.contract.fields if name in used]
    checks = [of_expectation(one) for one in event.expectations if one.kind.of_rows]
    return checked(rows.select(*fields, day.alias(_DAY)), event.contract, checks)


def _within(one: Expectation, today: int) -> Column:
    return F.col(_DAY) > today - one.days


def _of_rows_and_means(recent: DataFrame, event: EventType, today: int) -> dict[str, Observed]:
    """All shares of rows and all means, in one pass."""
    asked: dict[str, Column] = {}
    told: dict[str, Column] = {}
    for one in event.expectations:
        within = _within(one, today)
        if one.kind.of_rows:
            check = of_expectation(one)
            asked[one.name] = F.count(F.when(within & check.asked(), 1))
            told[one.name] = F.count(F.when(within & fails(check), 1))
        elif one.kind is ExpectationKind.MEAN:
            value = F.when(within, field_column(one.fields[0]))
            asked[one.name], told[one.name] = F.count(value), F.avg(value).cast("double")
    if not asked:
        return {}
    names = list(asked)
    [row] = recent.agg(*(asked[name] for name in names), *(told[name] for name in names)).collect()
    pairs = zip(names, row[: len(names)], row[len(names) :], strict=True)
    return {name: _share_or_mean(rows, said) for name, rows, said in pairs}


def _share_or_mean(rows: int, said: float | int | None) -> Observed:
    """`said`: how many rows fail, or what the mean is."""
    if isinstance(said, int):
        return Observed((rows - said) / rows if rows else None, rows, said)
    return Observed(said, rows)


def _unique(rows: DataFrame, fields: Sequence[str]) -> Observed:
    """Distinct combinations as a share of the events in which none of the fields is null."""
    whole = rows.select(*(field_column(name) for name in fields)).dropna()
    by_value = whole.groupBy(*(quoted(name) for name in whole.columns)).count()
    [row] = by_value.agg(F.sum("count").alias("rows"), F.count(F.lit(1)).alias("distinct")).collect()
    return Observed(row["distinct"] / row["rows"], row["rows"]) if row["rows"] else Observed(None)


def _drifted(recent: DataFrame, event: EventType, one: Expectation, days: History | None) -> Observed:
    """The last whole day's values against those of the days before."""
    if days is None or min(days.rows, days.before) < LEAST_ROWS:
        return Observed(None, days.rows if days else 0)
    named = recent.where(F.col(_DAY).between(days.first, days.day)).where(field_column(one.fields[0]).isNotNull())
    rows = named.select((F.col(_DAY) == days.day).alias("of_day"), field_column(one.fields[0]).alias(_VALUE))
    numeric = event.contract.fields[one.fields[0]].type in ("integer", "number")
    bin_of = _numbers(rows) if numeric else _texts(rows)
    counts: tuple[Counts, Counts] = ({}, {})
    for row in rows.groupBy("of_day", bin_of.alias("bin")).count().collect():
        counts[row["of_day"]][row["bin"]] = row["count"]
    return Observed(shift(*counts), sum(counts[1].values()))


def _numbers(rows: DataFrame) -> Column:
    """Of a number: which tenth of the days before it would have been in."""
    shares = [tenth / BINS for tenth in range(1, BINS)]
    value = F.col(_VALUE).cast("double")
    [row] = rows.where("NOT of_day").agg(F.percentile_approx(value, shares, _ACCURACY).alias("at")).collect()
    limits = sorted(set(row["at"] or []))
    return sum(((value > limit).cast("int") for limit in limits), F.lit(0)).cast("string")


def _texts(rows: DataFrame) -> Column:
    """Of anything else: itself, where it was common."""
    value = F.col(_VALUE).cast("string")
    counted = rows.where("NOT of_day").groupBy(value.alias(_VALUE)).count()
    common = [row[_VALUE] for row in counted.orderBy(F.desc("count"), _VALUE).limit(_COMMON).collect()]
    return F.when(value.isin(common), F.concat(F.lit("="), value)).otherwise(F.lit(""))
