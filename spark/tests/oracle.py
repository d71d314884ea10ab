"""What silver and gold must hold, by DuckDB, from what was sent. Shares no code with the lake."""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from orders import CATEGORIES, Sent

Database = duckdb.DuckDBPyConnection

_CASES = " ".join(f"WHEN sku = '{sku}' THEN '{name}'" for sku, name in CATEGORIES.items())
_CATEGORY = f"CASE {_CASES} END"
UNKNOWN = "__unknown__"
_LABELS = {
    "": "[]::VARCHAR[]",
    "category": f"[coalesce({_CATEGORY}, '{UNKNOWN}')]",
    "status,category": f"[status, coalesce({_CATEGORY}, '{UNKNOWN}')]",
    "status": "[status]",
    "quantity": "[quantity::VARCHAR]",
    "gift": f"[coalesce(gift::VARCHAR, '{UNKNOWN}')]",
}
_SIZES = {"10s": 10_000, "1m": 60_000, "1h": 3_600_000, "1d": 86_400_000}
Metrics = Mapping[str, tuple[str, str, Sequence[str], Sequence[str]]]
"""Metric -> SQL of its top and bottom, by what, in which windows."""
METRICS: Metrics = {
    "turnover": ("sum(amount)", "NULL", ("", "category", "status,category"), ("10s", "1m", "1h", "1d")),
    "orders": ("count(*)", "NULL", ("", "category", "status,category"), ("10s", "1m", "1h", "1d")),
    "shipped": ("count(shipping)", "NULL", ("quantity",), ("1m", "1d")),
    "by_weight": ("count(*)", "NULL", ("gift",), ("1m", "1d")),
    "dearest": ("max(amount)", "NULL", ("",), ("1m", "1d")),
    "mean": ("coalesce(sum(shipping), 0)", "count(shipping)", ("", "status"), ("1m", "1d")),
    "share": (
        "coalesce(sum(shipping), 0)",
        "sum(amount * 10 - coalesce(shipping, 0))",
        ("", "status"),
        ("1m", "1h", "1d"),
    ),
    "paid": ("sum(quantity)", "NULL", ("",), ("1m", "1d")),
}
SMALL: Metrics = {
    "turnover": ("sum(amount)", "NULL", ("", "category"), ("10s", "1m", "1d")),
    "share": (
        "coalesce(sum(shipping), 0)",
        "sum(amount * 10 - coalesce(shipping, 0))",
        ("", "category"),
        ("10s", "1m", "1d"),
    ),
}
"""Those of `orders.SMALL`."""
_WHERE = {"paid": "status = 'paid' AND amount >= 1050"}


def database(sent: Sequence[Sent]) -> Database:
    """Tables `valid` (all valid records) and `silver` (of each id the earliest)."""
    db = duckdb.connect()
    rows = [
        {"partition": one.partition, "offset": one.offset, "ts_ms": one.ts_ms, **(one.event or {})}
        for one in sent
        if one.valid
    ]
    for row in rows:
        row.pop("tags", None)
    db.register("rows_in", pa.Table.from_pylist(rows))
    db.execute("CREATE TABLE valid AS SELECT * FROM rows_in")
    db.execute(
        """CREATE TABLE silver AS SELECT * FROM valid
           QUALIFY row_number() OVER (PARTITION BY "order" ORDER BY ts_ms, partition, "offset") = 1"""
    )
    return db


def exact_windows(db: Database, metrics: Metrics = METRICS) -> dict[tuple[Any, ...], tuple[int, int | None]]:
    """(metric, by, window, start ms, labels) -> (top, bottom)."""
    found: dict[tuple[Any, ...], tuple[int, int | None]] = {}
    for metric, (top, bottom, sets, windows) in metrics.items():
        for by in sets:
            for window in windows:
                size = _SIZES[window]
                rows = db.execute(
                    f"""SELECT at_ms - at_ms % {size}, {_LABELS[by]} AS labels, ({top})::HUGEINT, ({bottom})::HUGEINT
                        FROM silver WHERE {_WHERE.get(metric, "true")} GROUP BY 1, 2"""  # noqa: S608
                ).fetchall()
                for start, labels, above, below in rows:
                    key = (metric, tuple(filter(None, by.split(","))), window, start, tuple(labels))
                    found[key] = (int(above), None if below is None else int(below))
    return found
