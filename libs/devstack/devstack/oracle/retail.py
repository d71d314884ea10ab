"""The retail domain a second time, in SQL: what its rules reject and what its KPIs are.

Written by hand from what domains/retail says to people; nothing is read from there, so a mistake in how the
platform reads its own files shows.
"""

from dataclasses import dataclass

LATENESS_MS = 60_000
"""Events that come this much behind the watermark are late."""

QUARANTINED = "CASE WHEN quantity < 1 THEN 'no_units' END"
"""SQL: the rule that quarantines a line item, or NULL. Free items and unknown products only warn: they count."""

DIMENSIONS: dict[str, str] = {"": "''", "store": "CAST(store_id AS VARCHAR)", "department": "department"}
"""Dimension -> SQL of its label; "" is the total."""

WINDOWS_MS = {"10s": 10_000, "1m": 60_000, "1h": 3_600_000}
ROLLING_MS, ROLLING_EVERY_MS = 300_000, 10_000
SKETCHED_WINDOWS = ("1m", "1h")
DAY_MS = {"1d": 86_400_000}
"""The lake has every KPI by day too."""


@dataclass(frozen=True, slots=True)
class Exact:
    """A measure equal to the last digit: `top` / 10^scale, or the ratio `top` / `bottom`."""

    top: str
    bottom: str = "NULL"
    scale: int = 0


EXACT = {
    "revenue": Exact("sum(sales_cents)", scale=2),
    "units": Exact("sum(quantity)"),
    "discount_rate": Exact(
        "sum(retail_cents + coupon_cents + match_cents)",
        "sum(sales_cents + retail_cents + coupon_cents + match_cents)",
    ),
}
DISTINCT = {"orders": "basket_id", "customers": "household_id"}
QUANTILES = {"line_value": "sales_cents / 100"}
STATED = {"orders": 0.033, "customers": 0.033, "line_value": 0.02}
"""The errors that docs/specs/domain.md states: relative, relative, of rank."""
RANKS = ("p50", "p90", "p99")
TOP = {"top_products": "CAST(product_id AS VARCHAR)", "top_departments": "department"}
TOP_SIZE = 10

UNKNOWN = "__unknown__"
"""Label of a product that the product table does not hold. It is no item of a top list."""

BAD_INPUT = {
    "not_json": ("undecodable", "not_json"),
    "wrong_type": ("quarantined", "wrong_type"),
    "missing_field": ("quarantined", "missing_field"),
    "extra_field": ("valid", ""),
    "huge_value": ("quarantined", "wrong_type"),
    "deep_nesting": ("undecodable", "too_deep"),
    "invalid_utf8": ("undecodable", "invalid_utf8"),
    "invalid_utf8_unknown_field": ("undecodable", "invalid_utf8"),
    "nan": ("undecodable", "not_json"),
    "infinity": ("undecodable", "not_json"),
    "duplicate_keys": ("quarantined", "duplicate_keys"),
    "beyond_64_bits": ("quarantined", "out_of_range"),
    "null_key": ("quarantined", "null_key"),
    "empty_value": ("undecodable", "empty_value"),
    "tombstone": ("undecodable", "empty_value"),
    "year_ahead": ("quarantined", "time_ahead"),
    "in_1970": ("quarantined", "too_old"),
    "confluent": ("undecodable", "unknown_schema"),
}
"""Kind of malformed record -> its verdict and reason; the rules still apply to what is valid."""
