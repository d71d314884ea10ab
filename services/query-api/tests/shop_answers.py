"""Queries in Athena's dialect, and what each must answer: counted over the rows in plain Python, by no database."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from shop_counts import (
    Answer,
    by,
    by_store_days,
    daily,
    in_time,
    instant,
    iso,
    least_greatest,
    moments,
    month,
    months,
    ranks,
    rollup,
    rounded,
    running,
    sums,
    whole,
)
from shop_lake import Row


class Case(NamedTuple):
    sql: str
    expected: Callable[[Sequence[Row]], Answer]
    """In order where the query has one, else by the values."""


CASES: dict[str, Case] = {
    "sums": Case(
        "SELECT store, count(*), sum(quantity), sum(amount), min(amount), max(product), count(DISTINCT product), "
        "count_if(gift), coalesce(sum(amount) FILTER (WHERE quantity > 1), 0) FROM silver.sale "
        "GROUP BY store ORDER BY store",
        sums,
    ),
    "whole numbers divide to whole numbers": Case(
        "SELECT sale, product / 4, product % 4, product / -4, -product / 4 FROM silver.sale ORDER BY sale",
        lambda rows: [
            (
                r["sale"],
                whole(r["product"], 4),
                r["product"] - 4 * whole(r["product"], 4),
                whole(r["product"], -4),
                whole(-r["product"], 4),
            )
            for r in sorted(rows, key=lambda r: r["sale"])
        ],
    ),
    "decimals are exact": Case(
        "SELECT sum(amount * quantity), sum(amount + 0.005), max(CAST(amount AS decimal(20,4))), "
        "CAST(sum(amount) AS double) / count(*), sum(coalesce(discount, 0)) FROM silver.sale",
        lambda rows: [
            (
                sum((r["amount"] * r["quantity"] for r in rows), Decimal(0)),
                sum((r["amount"] + Decimal("0.005") for r in rows), Decimal(0)),
                max(r["amount"] for r in rows),
                float(sum(r["amount"] for r in rows)) / len(rows),
                sum((r["discount"] or Decimal(0) for r in rows), Decimal(0)),
            )
        ],
    ),
    "times are cut": Case(
        "SELECT date_trunc('hour', at) AS hour, date_trunc('week', CAST(at AS date)) AS week, "
        "date_trunc('month', CAST(at AS date)) AS month, count(*) FROM silver.sale GROUP BY 1, 2, 3 ORDER BY 1",
        lambda rows: [
            (
                instant(hour),
                (hour.date() - timedelta(days=hour.weekday())).isoformat(),
                month(hour).isoformat(),
                len(of),
            )
            for hour, of in by(rows, lambda r: r["at"].replace(minute=0, second=0, microsecond=0)).items()
        ],
    ),
    "differences count what has passed": Case(
        "SELECT sale, date_diff('day', TIMESTAMP '2025-12-30 23:59:59.500 UTC', at), "
        "date_diff('month', TIMESTAMP '2025-11-30 12:00:00 UTC', at), date_diff('second', df_time, df_ts), "
        "date_diff('day', DATE '2025-12-01', CAST(at AS date)) FROM silver.sale "
        "WHERE at >= DATE '2026-01-01' ORDER BY sale",
        lambda rows: [
            (
                r["sale"],
                (r["at"] - datetime(2025, 12, 30, 23, 59, 59, 500_000, UTC)) // timedelta(days=1),
                months(datetime(2025, 11, 30, 12, tzinfo=UTC), r["at"]),
                (r["df_ts"] - r["df_time"]) // timedelta(seconds=1),
                (r["at"].date() - date(2025, 12, 1)).days,
            )
            for r in sorted(rows, key=lambda r: r["sale"])
            if r["at"] >= datetime(2026, 1, 1, tzinfo=UTC)
        ],
    ),
    "a date that is moved is a date": Case(
        "SELECT DISTINCT CAST(at AS date) AS day, date_add('day', -1, CAST(at AS date)), "
        "CAST(at AS date) + INTERVAL '2' DAY, date_add('month', 1, CAST(at AS date)), "
        "last_day_of_month(CAST(at AS date)) FROM silver.sale WHERE at < DATE '2026-01-05' ORDER BY 1",
        lambda rows: [
            (
                day.isoformat(),
                (day - timedelta(days=1)).isoformat(),
                (day + timedelta(days=2)).isoformat(),
                (date(2026, day.month % 12 + 1, day.day)).isoformat(),
                date(day.year, day.month, 31).isoformat(),
            )
            for day in sorted({r["at"].date() for r in rows if r["at"] < datetime(2026, 1, 5, tzinfo=UTC)})
        ],
    ),
    "an instant that is moved": Case(
        "SELECT max(date_add('minute', 90, at)), min(at - INTERVAL '1' HOUR), "
        "max(from_iso8601_timestamp('2026-01-05T10:00:00+02:00')), max(to_unixtime(at)), "
        "max(from_unixtime(1767607200)), max(CAST(date_parse('05.01.2026 10:11', '%d.%m.%Y %H:%i') AS date)), "
        "max(from_iso8601_date('2026-01-05')) FROM silver.sale",
        lambda rows: [
            (
                instant(max(r["at"] for r in rows) + timedelta(minutes=90)),
                instant(min(r["at"] for r in rows) - timedelta(hours=1)),
                "2026-01-05T08:00:00.000Z",
                max(r["at"] for r in rows).timestamp(),
                "2026-01-05T10:00:00.000Z",
                "2026-01-05",
                "2026-01-05",
            )
        ],
    ),
    "parts of times": Case(
        "SELECT sale, year(at), quarter(at), month(at), week(at), day(at), day_of_week(at), day_of_year(at), hour(at), "
        "minute(at), second(at), EXTRACT(dow FROM at) FROM silver.sale ORDER BY sale",
        lambda rows: [
            (
                r["sale"],
                r["at"].year,
                (r["at"].month + 2) // 3,
                r["at"].month,
                iso(r["at"])[0],
                r["at"].day,
                iso(r["at"])[1],
                r["at"].timetuple().tm_yday,
                r["at"].hour,
                r["at"].minute,
                r["at"].second,
                iso(r["at"])[1],
            )
            for r in sorted(rows, key=lambda r: r["sale"])
        ],
    ),
    "times as text": Case(
        "SELECT sale, format_datetime(at, 'yyyy-MM-dd''T''HH:mm:ss.SSS'), format_datetime(at, 'EEE d. MMMM xxxx ww'), "
        "date_format(at, '%Y/%m/%d %H:%i:%s'), CAST(CAST(at AS date) AS varchar) FROM silver.sale ORDER BY sale",
        lambda rows: [
            (
                r["sale"],
                f"{r['at']:%Y-%m-%dT%H:%M:%S}.{r['at'].microsecond // 1000:03d}",
                f"{r['at']:%a} {r['at'].day}. {r['at']:%B %G %V}",
                f"{r['at']:%Y/%m/%d %H:%M:%S}",
                r["at"].date().isoformat(),
            )
            for r in sorted(rows, key=lambda r: r["sale"])
        ],
    ),
    "windows": Case(
        "SELECT store, sale, row_number() OVER (PARTITION BY store ORDER BY at, sale), "
        "sum(quantity) OVER (PARTITION BY store ORDER BY at, sale), "
        "lag(quantity) OVER (PARTITION BY store ORDER BY at, sale), "
        "sum(quantity) OVER (PARTITION BY store ORDER BY at, sale ROWS BETWEEN 2 PRECEDING AND CURRENT ROW), "
        "first_value(sale) OVER (PARTITION BY store ORDER BY at, sale) FROM silver.sale ORDER BY store, at, sale",
        running,
    ),
    "ranks": Case(
        "WITH n AS (SELECT product, count(*) AS n FROM silver.sale GROUP BY product) "
        "SELECT product, n, rank() OVER (ORDER BY n DESC), dense_rank() OVER (ORDER BY n DESC) FROM n ORDER BY product",
        ranks,
    ),
    "moments": Case(
        "SELECT avg(weight), stddev(weight), stddev_pop(weight), var_samp(weight), "
        "corr(weight, CAST(quantity AS double)), avg(quantity) FROM silver.sale",
        moments,
    ),
    "what is null": Case(
        "SELECT sale, coalesce(weight, -1), nullif(quantity, 1), IF(gift, 'yes', 'no'), least(weight, 2e0), "
        "greatest(weight, 2e0), CASE WHEN gift THEN 1 WHEN gift IS NULL THEN 2 ELSE 3 END, gift IS DISTINCT FROM true, "
        "concat(store, tags), weight > 2 OR gift FROM silver.sale ORDER BY sale",
        lambda rows: [
            (
                r["sale"],
                -1.0 if r["weight"] is None else r["weight"],
                None if r["quantity"] == 1 else r["quantity"],
                "yes" if r["gift"] else "no",
                *least_greatest(r),
                {True: 1, None: 2, False: 3}[r["gift"]],
                r["gift"] is not True,
                None if r["tags"] is None else r["store"] + r["tags"],
                True if (r["weight"] or 0) > 2 or r["gift"] else None if None in (r["weight"], r["gift"]) else False,
            )
            for r in sorted(rows, key=lambda r: r["sale"])
        ],
    ),
    "texts": Case(
        "SELECT DISTINCT store, lower(store), upper(store), length(store), substr(store, 2, 2), strpos(store, 'r'), "
        "replace(store, 'r', 'RR'), split_part(store, '-', 1), lpad(store, 6, '*'), reverse(store), "
        "trim(concat(' ', store)), store LIKE '%r%', store || '!' FROM silver.sale ORDER BY store",
        lambda rows: [
            (
                s,
                s.lower(),
                s.upper(),
                len(s),
                s[1:3],
                s.find("r") + 1,
                s.replace("r", "RR"),
                s.split("-")[0],
                s.rjust(6, "*"),
                s[::-1],
                s,
                "r" in s,
                s + "!",
            )
            for s in sorted({r["store"] for r in rows})
        ],
    ),
    "patterns": Case(
        "SELECT DISTINCT store, regexp_like(store, '^[A-Z]'), regexp_extract(store, '([a-z]+)-([0-9])', 2), "
        "regexp_extract(store, 'ar') FROM silver.sale ORDER BY store",
        lambda rows: [
            (s, "A" <= s[0] <= "Z", "1" if s == "Car-1" else None, "ar" if "ar" in s else None)
            for s in sorted({r["store"] for r in rows})
        ],
    ),
    "arrays": Case(
        "SELECT DISTINCT labels[1], element_at(labels, 2), cardinality(labels), contains(labels, 'bar'), "
        "array_join(labels, '/'), ARRAY[1, 2], sequence(1, 3) FROM gold.sale ORDER BY 1",
        lambda rows: [(s, None, 1, s == "bar", s, [1, 2], [1, 2, 3]) for s in sorted({r["store"] for r in rows})],
    ),
    "arrays as rows, rows as arrays": Case(
        "SELECT label, n, array_agg(day ORDER BY day DESC), "
        "listagg(CAST(day AS varchar), ' ') WITHIN GROUP (ORDER BY day) "
        "FROM gold.sale CROSS JOIN UNNEST(labels) WITH ORDINALITY AS t(label, n) GROUP BY label, n ORDER BY label",
        lambda rows: [
            (
                store,
                1,
                [day.isoformat() for day in reversed(days)],
                " ".join(day.isoformat() for day in days),
            )
            for store, days in by_store_days(rows).items()
        ],
    ),
    "json": Case(
        "SELECT sale, json_extract_scalar(tags, '$.kind'), json_extract_scalar(tags, '$.n[1]'), "
        "json_extract_scalar(store, '$.kind') FROM silver.sale ORDER BY sale",
        lambda rows: [
            (r["sale"], "x" if "x" in (r["tags"] or "") else None, "5" if "x" in (r["tags"] or "") else None, None)
            for r in sorted(rows, key=lambda r: r["sale"])
        ],
    ),
    "casts round half away from zero": Case(
        "SELECT sale, CAST(weight AS bigint), CAST(amount AS bigint), round(amount, 1), round(weight), "
        "TRY_CAST(store AS bigint), CAST(quantity AS double), floor(weight), ceil(amount), abs(amount), sign(amount), "
        "truncate(weight) FROM silver.sale ORDER BY sale",
        lambda rows: [
            (
                r["sale"],
                None if r["weight"] is None else rounded(r["weight"]),
                rounded(r["amount"]),
                r["amount"].quantize(Decimal("0.1"), ROUND_HALF_UP),
                None if r["weight"] is None else float(rounded(r["weight"])),
                None,
                float(r["quantity"]),
                None if r["weight"] is None else float(math.floor(r["weight"])),
                math.ceil(r["amount"]),
                abs(r["amount"]),
                (r["amount"] > 0) - (r["amount"] < 0),
                None if r["weight"] is None else float(math.trunc(r["weight"])),
            )
            for r in sorted(rows, key=lambda r: r["sale"])
        ],
    ),
    "numbers": Case(
        "SELECT power(2, 10), sqrt(16e0), ln(exp(2e0)), log10(1000e0), log2(8e0), mod(-7, 3), -7 / 2, 7e0 / 2, "
        "1e0 / 0e0, CAST(0.1 AS double) + 0.2e0",
        lambda _: [(1024.0, 4.0, 2.0, 3.0, 3.0, -1, -3, 3.5, None, 0.1 + 0.2)],
    ),
    "sets and joins": Case(
        "SELECT g.day, g.labels[1] AS store, g.value, s.units FROM gold.sale AS g JOIN ("
        "SELECT CAST(at AS date) AS day, store, sum(quantity) AS units FROM silver.sale GROUP BY 1, 2) AS s "
        "ON s.day = g.day AND s.store = g.labels[1] ORDER BY 1, 2",
        lambda rows: [(day.isoformat(), store, float(n), n) for (day, store), n in daily(rows).items()],
    ),
    "unions": Case(
        "SELECT store FROM silver.sale WHERE quantity = 7 UNION SELECT 'zoo' EXCEPT SELECT 'bar' ORDER BY 1",
        lambda rows: [(s,) for s in sorted(({r["store"] for r in rows if r["quantity"] == 7} | {"zoo"}) - {"bar"})],
    ),
    "conditions": Case(
        "SELECT count(*) FROM silver.sale AS s WHERE store IN ('bar', 'dot') AND quantity NOT IN (1, 2) "
        "AND amount BETWEEN 10 AND 800 AND EXISTS (SELECT 1 FROM gold.sale AS g WHERE g.value > s.quantity) "
        "AND amount > (SELECT min(amount) FROM silver.sale) AND store NOT LIKE 'x\\_%' ESCAPE '\\'",
        lambda rows: [
            (
                sum(
                    r["store"] in ("bar", "dot")
                    and r["quantity"] not in (1, 2)
                    and 10 <= r["amount"] <= 800
                    and max(daily(rows).values()) > r["quantity"]
                    and r["amount"] > min(x["amount"] for x in rows)
                    for r in rows
                ),
            )
        ],
    ),
    "nulls come last, up and down": Case(
        "SELECT weight FROM silver.sale ORDER BY weight DESC, sale LIMIT 400",
        lambda rows: [
            *((w,) for w in sorted((r["weight"] for r in rows if r["weight"] is not None), reverse=True)),
            *((None,) for r in rows if r["weight"] is None),
        ],
    ),
    "pages": Case(
        "SELECT sale FROM silver.sale ORDER BY at DESC, sale OFFSET 5 LIMIT 3",
        lambda rows: [(r["sale"],) for r in sorted(rows, key=lambda r: (r["at"], r["sale"]), reverse=True)[5:8]],
    ),
    "the most of something": Case(
        "SELECT max_by(sale, at), min_by(sale, at), bool_and(quantity > 0), bool_or(gift) FROM silver.sale",
        lambda rows: [(in_time(rows)[-1]["sale"], in_time(rows)[0]["sale"], True, any(r["gift"] for r in rows))],
    ),
    "roll up": Case(
        "SELECT store, gift, count(*), grouping(store, gift) AS level FROM silver.sale GROUP BY ROLLUP (store, gift) "
        "ORDER BY level, store, gift",
        lambda rows: sorted(rollup(rows), key=lambda r: (r[3], r[0] or "", {False: 0, True: 1, None: 2}[r[1]])),
    ),
    "values": Case(
        "SELECT t.word, count(s.sale) FROM (VALUES ('bar', 1), ('none', 2)) AS t(word, n) "
        "LEFT JOIN silver.sale AS s ON s.store = t.word GROUP BY t.word ORDER BY t.word",
        lambda rows: [("bar", sum(r["store"] == "bar" for r in rows)), ("none", 0)],
    ),
}
