"""Whether the values of sketched KPIs are within the error that the API states. SQL over `fact` and `got`.

Each function adds rows to table `off`: (metric, window, start_ms, expected), the windows whose value is not.
"""

from collections.abc import Mapping

from devstack.oracle import retail
from devstack.oracle.outcomes import Database
from devstack.oracle.windows import LIVE_SKETCHED


def check_sketches(db: Database, windows: Mapping[str, int] = LIVE_SKETCHED) -> None:
    """*Needs* tables `fact`, `got`, and `stated` (metric, bound). Table `off` is made anew."""
    db.execute('CREATE OR REPLACE TABLE off (metric VARCHAR, "window" VARCHAR, start_ms BIGINT, expected VARCHAR)')
    for window, size_ms in windows.items():
        start = f"event_ms - event_ms % {size_ms}"
        for metric, field in retail.DISTINCT.items():
            _distinct(db, metric, window, start, field)
        for metric, value in retail.QUANTILES.items():
            _quantiles(db, metric, window, start, value)
        for metric, item in retail.TOP.items():
            _top(db, metric, window, start, item)


def _got(metric: str, window: str) -> str:
    return f"""got WHERE metric = '{metric}' AND "window" = '{window}' AND "by" = ''"""


def _distinct(db: Database, metric: str, window: str, start: str, field: str) -> None:
    """|estimate - true| within the relative bound (and half a unit: the estimate is rounded)."""
    db.execute(
        f"""
        INSERT INTO off
        SELECT metric, "window", g.start_ms, 'exactly ' || n
        FROM (FROM {_got(metric, window)}) g LEFT JOIN stated USING (metric)
        JOIN (SELECT {start} AS start_ms, count(DISTINCT {field}) AS n FROM fact GROUP BY 1) USING (start_ms)
        WHERE NOT coalesce(abs(TRY_CAST(value AS DOUBLE) - n) <= bound * n + 0.5, false)
        """  # noqa: S608
    )


def _quantiles(db: Database, metric: str, window: str, start: str, value: str) -> None:
    """The ranks a value really has, [share below, share not above], touch the asked rank ± bound."""
    db.execute(
        f"""
        INSERT INTO off
        WITH asked AS (
            SELECT start_ms, key, CAST(substr(key, 2) AS DOUBLE) / 100 AS rank, bound,
                   TRY_CAST(json_extract_string(value, key) AS DOUBLE) AS v
            FROM (FROM {_got(metric, window)}) LEFT JOIN stated USING (metric)
            CROSS JOIN (SELECT unnest({list(retail.RANKS)}) AS key)),
        held AS (SELECT {start} AS start_ms, {value} AS x FROM fact),
        ranked AS (
            SELECT start_ms, key, any_value(rank) AS rank, any_value(bound) AS bound, any_value(v) AS v,
                   avg(CAST(x < v AS INT)) AS below, avg(CAST(x <= v AS INT)) AS not_above
            FROM asked JOIN held USING (start_ms) GROUP BY ALL)
        SELECT '{metric}', '{window}', start_ms,
               string_agg(coalesce(format('{{}}={{}} has ranks {{:.4f}} to {{:.4f}}', key, v, below, not_above),
                                   key || ' is not given'), '; ')
        FROM ranked WHERE NOT coalesce(below <= rank + bound AND not_above >= rank - bound, false) GROUP BY ALL
        """  # noqa: S608
    )


def _top(db: Database, metric: str, window: str, start: str, item: str) -> None:
    """Every listed item's true count is within its bounds; no other item surely belongs on the list."""
    db.execute(
        f"""
        INSERT INTO off
        WITH listed AS (
            SELECT start_ms, unnest(from_json(value, '[{{"item":"VARCHAR","lower":"BIGINT","upper":"BIGINT"}}]')) AS i
            FROM {_got(metric, window)}),
        held AS (SELECT {start} AS start_ms, {item} AS item, count(*) AS n FROM fact
                 WHERE {item} != '{retail.UNKNOWN}' GROUP BY ALL),
        lists AS (SELECT start_ms, count(*) AS size, min(i.upper) AS least FROM listed GROUP BY ALL),
        wrong AS (
            SELECT l.start_ms, format('{{}} was seen {{}} times', i.item, coalesce(n, 0)) AS why
            FROM listed l LEFT JOIN held h ON h.start_ms = l.start_ms AND h.item = i.item
            WHERE NOT coalesce(n BETWEEN i.lower AND i.upper, false)
            UNION ALL
            SELECT h.start_ms, format('{{}} was seen {{}} times and is not listed', h.item, n)
            FROM held h JOIN (FROM {_got(metric, window)}) USING (start_ms) LEFT JOIN lists USING (start_ms)
            LEFT JOIN listed l ON l.start_ms = h.start_ms AND l.i.item = h.item
            WHERE l.start_ms IS NULL AND (coalesce(size, 0) < {retail.TOP_SIZE} OR n > least))
        SELECT '{metric}', '{window}', start_ms, string_agg(why, '; ') FROM wrong GROUP BY ALL
        """  # noqa: S608
    )
