"""The domain of `orders` with rules and expectations of every kind, and days of silver that meet all or none."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dataforge.contracts.load import load_domain
from dataforge.contracts.model import Domain, EventType

from lake.schema import silver_columns
from orders import CATEGORIES, SMALL, write_domain

RULES = """rules:
  - {name: dear, field: amount, check: {maximum: 1000.5}, action: quarantine, why: a}
  - {name: free, field: amount, check: {exclusive_minimum: 0}, action: warn, why: b}
  - {name: far, field: shipping, check: {exclusive_maximum: 500.125}, action: warn, why: c}
  - {name: light, field: weight, check: {minimum: 0.5}, action: warn, why: d}
  - {name: paid_or_open, field: status, check: {in: [paid, open]}, action: quarantine, why: e}
  - {name: not_two, field: quantity, check: {not_in: [2, 7]}, action: warn, why: f}
  - {name: early_customer, field: customer, check: {matches: "^c(?P<tens>[0-3])?.$"}, action: warn, why: g}
  - {name: no_gift, field: gift, check: {in: [false]}, action: warn, why: h}
  - {name: on_sale, field: sku, check: {in_lookup: products}, action: warn, why: i}
"""
"""Every check, most of them met by some events of `orders.drawn` and not by others."""
LAKE = """lake:
  - {name: weighed, expect: {completeness: {field: weight, at_least: 0.9}}, severity: fail, why: It is sent.}
  - {name: cheap, expect: {range: {field: amount, minimum: 1, maximum: 90, at_least: 0.99}}, severity: fail, why: Tea.}
  - {name: known, expect: {references: {field: sku, lookup: products, at_least: 0.98}}, severity: fail, why: Ours.}
  - {name: once, expect: {uniqueness: {fields: [customer, sku]}}, severity: warn, why: Nobody buys twice.}
  - {name: pieces, expect: {mean: {field: quantity, minimum: 1.5, maximum: 2.5}}, severity: fail, why: One or two.}
  - {name: awake, expect: {freshness: {at_most: 1h}}, severity: fail, why: Somebody always drinks tea.}
  - {name: steady, expect: {volume: {within: 2}}, severity: fail, why: Days are alike.}
  - {name: prices, expect: {drift: {field: amount, at_most: 0.2}}, severity: fail, why: Prices stay.}
  - {name: states, expect: {drift: {field: status, at_most: 0.2}}, severity: warn, why: So do customers., last: 7d}
"""
DAY = datetime(2026, 1, 10, tzinfo=UTC)
"""The day that is not over."""
DAYS, ROWS = 6, 1_200
"""Whole days before it, and events in each."""


def quality_domain(folder: Path, quality: str = RULES + LAKE) -> Domain:
    write_domain(folder, SMALL)
    (folder / "quality.yaml").write_text(quality)
    return load_domain(folder)


def days(*, broken: bool = False) -> pd.DataFrame:
    """Events as silver has them, but for what nobody here asks. Broken: so that no expectation of `LAKE` is met, each
    for a reason of its own.
    """
    drawn = np.random.default_rng(5)
    rows: list[dict[str, Any]] = []
    for back in range(DAYS, -1, -1):
        last_whole = back == 1
        changed = broken and last_whole
        for n in range(ROWS * 3 if changed else ROWS if back else 100):
            at = DAY - timedelta(days=back) + timedelta(seconds=20 * n)
            bad = broken and n % 3 == 0
            rows.append(
                {
                    "df_id": f"{back}-{n}",
                    "df_time": at,
                    "df_ts": at + timedelta(seconds=1),
                    "customer": f"c{0 if broken else back}-{n // 3}",
                    "sku": "Z9" if bad else list(CATEGORIES)[n % 3],
                    "status": "open" if changed or drawn.random() < 0.3 else "paid",
                    "quantity": 9 if bad else int(drawn.integers(1, 4)),
                    "amount": 200 if bad and n % 2 else round(float(drawn.gamma(9, 3)), 2) * (2 if changed else 1) + 1,
                    "weight": None if bad else 1.0,
                }
            )
    return pd.DataFrame(rows)


def silver(spark: SparkSession, event: EventType, events: pd.DataFrame) -> DataFrame:
    """*Shape*: as the event's table of silver."""
    frame = spark.createDataFrame(
        events,
        "df_id string, df_time timestamp, df_ts timestamp, customer string, sku string, status string, "
        "quantity bigint, amount double, weight double",
    )
    columns = silver_columns(event)
    present = set(frame.columns)
    return frame.select(
        *((F.col(c.name) if c.name in present else F.lit(None)).cast(c.type).alias(c.name) for c in columns)
    )


def newest_ms(events: pd.DataFrame) -> int:
    return int(events["df_time"].max().timestamp() * 1_000)
