"""A small lake: real Iceberg tables in a real store, of rows that tests can count over themselves."""

import json
import os
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from dataforge.contracts.load import load_domain
from dataforge.contracts.model import Domain
from dataforge.sql.tables import GOLD, silver_columns

from devstack.testing.plugin import S3Access
from query_api.query.duckdb_engine import Access, DuckDB
from query_api.query.slots import Slots

Row = dict[str, Any]
START = datetime(2025, 12, 30, 22, 30, tzinfo=UTC)
"""Some hours before a year ends."""
_CONTRACT = {
    "type": "object",
    "x-dataforge": {"id": "sale", "event_time": "at", "key": "store"},
    "properties": {
        "sale": {"type": "string"},
        "at": {"type": "string", "format": "date-time"},
        "store": {"type": "string"},
        "product": {"type": "integer"},
        "quantity": {"type": "integer"},
        "amount": {"type": "number", "x-scale": 2},
        "discount": {"type": ["number", "null"], "x-scale": 3},
        "weight": {"type": ["number", "null"]},
        "gift": {"type": ["boolean", "null"]},
        "tags": {"type": ["object", "null"]},
    },
    "required": ["sale", "at", "store", "product", "quantity", "amount"],
}
_QUERIES = {
    "by_store": """/*
description: Money by store
parameters:
  since: {type: timestamp, default: "2025-01-01T00:00:00Z"}
  stores: {type: [text], default: []}
  least: {type: number, default: null}
max_rows: 100
*/
SELECT store, sum(amount) AS amount, count(*) AS sales FROM silver.sale
WHERE at >= :since AND (cardinality(:stores) = 0 OR store IN (:stores)) AND (:least IS NULL OR amount >= :least)
GROUP BY store ORDER BY store
""",
    "endless": """/*
description: More than anybody can wait for
parameters: {times: {type: integer, default: 100000}}
*/
SELECT sum(a.product * b.product * c.product) AS total
FROM silver.sale AS a CROSS JOIN silver.sale AS b CROSS JOIN UNNEST(sequence(1, :times)) AS c(product)
""",
}
_ARROW = {
    "varchar": pa.string(),
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "varbinary": pa.binary(),
    "timestamp with time zone": pa.timestamp("us", tz="UTC"),
    "array(varchar)": pa.list_(pa.string()),
    "array(timestamp with time zone)": pa.list_(pa.timestamp("us", tz="UTC")),
}


def shop_domain(folder: Path) -> Domain:
    """With its queries."""
    (folder / "queries").mkdir(parents=True)
    (folder / "sale.v1.json").write_text(json.dumps(_CONTRACT))
    for name, text in _QUERIES.items():
        (folder / "queries" / f"{name}.sql").write_text(text)
    return load_domain(folder, queries=True)


def drawn(count: int = 400, seed: int = 7) -> list[Row]:
    """Sales, as silver has them; nulls, ties, negatives and repeats among them."""
    rnd, rows, at = random.Random(seed), list[Row](), START
    for n in range(count):
        at += timedelta(milliseconds=rnd.randrange(3_600_000))
        rows.append({
            "df_id": f"s-{n}", "df_time": at, "df_ts": at + timedelta(milliseconds=rnd.randrange(100_000)),
            "df_partition": n % 2, "df_offset": n // 2, "df_judged_offset": n // 2, "df_contract": 7,
            "sale": f"s-{n}", "at": at, "store": rnd.choice(["Äst", "bar", "Car-1", "dot"]),
            "product": rnd.randrange(-9, 40), "quantity": rnd.choice([1, 1, 2, 3, 7]),
            "amount": Decimal(rnd.randrange(-500, 90_000)) / 100,
            "discount": rnd.choice([None, Decimal(rnd.randrange(9_999)) / 1000]),
            "weight": rnd.choice([None, 0.5, 1.5, 2.5, -2.5, rnd.random() * 50]),
            "gift": rnd.choice([None, True, False]),
            "tags": rnd.choice([None, '{"kind": "x", "n": [4, 5]}', '{"kind": null}', "[]"]),
            "df_replaced": [],
        })  # fmt: skip
    return rows


def gold_of(rows: Sequence[Row]) -> list[Row]:
    """One metric by store and day."""
    found: dict[tuple[Any, str], int] = {}
    for row in rows:
        key = row["at"].date(), row["store"]
        found[key] = found.get(key, 0) + row["quantity"]
    return [
        {"metric": "units", "by": ["store"], "labels": [store], "window": "1d", "size_ms": 86_400_000,
         "start": datetime(day.year, day.month, day.day, tzinfo=UTC), "day": day, "value": float(units),
         "top": Decimal(units), "bottom": None, "sketch": b"\x00\xff"}
        for (day, store), units in sorted(found.items())
    ]  # fmt: skip


class ShopLake:
    """What the lake's jobs would have made."""

    def __init__(self, s3: S3Access, folder: Path, domain: Domain) -> None:
        from pyiceberg.catalog.sql import SqlCatalog  # a second that tests without a lake need not wait

        self.domain, self.file = domain, folder / "catalog.db"
        self.warehouse = f"s3://{s3.bucket}/{domain.name}-{os.urandom(4).hex()}"
        self.s3 = s3
        folder.mkdir(parents=True, exist_ok=True)
        self._catalog = SqlCatalog(
            "lake",
            **{
                "uri": f"sqlite:///{self.file}",
                "warehouse": self.warehouse,
                "s3.endpoint": s3.endpoint,
                "s3.access-key-id": s3.access_key,
                "s3.secret-access-key": s3.secret_key,
                "s3.region": s3.region,
            },
        )
        self._catalog.create_namespace(domain.name)
        event = domain.events[0]
        self._schemas = {"silver": _schema(silver_columns(event)), "gold": _schema(GOLD)}
        for layer, schema in self._schemas.items():
            self._catalog.create_table(self._name(layer), schema=schema)

    def append(self, layer: str, rows: Sequence[Row]) -> str:
        """One commit. Returns its snapshot."""
        table = self._catalog.load_table(self._name(layer))
        table.append(pa.Table.from_pylist(list(rows), self._schemas[layer]))
        snapshot = table.current_snapshot()
        assert snapshot is not None
        return str(snapshot.snapshot_id)

    def close(self) -> None:
        self._catalog.close()

    def _name(self, layer: str) -> str:
        return f"{self.domain.name}.{layer}_sale_v1"


def duckdb_over(shop: ShopLake, *, workers: int = 2, queue: int = 8, time_limit_s: float = 60.0) -> DuckDB:
    access = Access(shop.warehouse, shop.s3.endpoint, shop.s3.region, "256MB", 2)
    return DuckDB(access, Slots(workers, queue, time_limit_s))


def _schema(columns: Any) -> pa.Schema:
    return pa.schema([(name, _arrow(kind)) for name, kind in columns.items()])


def _arrow(kind: str) -> pa.DataType:
    if kind.startswith("decimal"):
        digits, scale = kind.removeprefix("decimal(").removesuffix(")").split(",")
        return pa.decimal128(int(digits), int(scale))
    return _ARROW[kind]
