"""Real purchases as the lake's silver table, written past the lake's jobs: a bench needs no Spark for rows."""

from collections.abc import Mapping
from pathlib import Path

import duckdb

from dataforge.contracts.model import EventType
from dataforge.sql.tables import silver_columns

from devstack.errors import StackError
from devstack.model import Endpoints
from devstack.replay.purchases import source

_TYPES = {"timestamp with time zone": "TIMESTAMPTZ", "array(timestamp with time zone)": "TIMESTAMPTZ[]"}
_SAID: Mapping[str, str] = {
    "df_id": "'p-' || t.file_row_number",
    "df_time": "t.transaction_timestamp",
    "df_ts": "t.transaction_timestamp + INTERVAL 1 SECOND",
    "df_partition": "t.household_id % 4",
    "df_offset": "t.file_row_number",
    "df_judged_offset": "t.file_row_number",
    "df_contract": "7",
    "event_id": "'p-' || t.file_row_number",
    "occurred_at": "t.transaction_timestamp",
    "dim_department": "p.department",
    "df_replaced": "[]",
}
"""Columns that the source does not have under their names."""


def written(event: EventType, rows: int, reach: Endpoints, catalog: Path) -> str:
    """The first `rows` purchases in time order as an Iceberg table. Its metadata file. *Raises* `StackError`."""
    try:
        from pyiceberg.catalog.sql import SqlCatalog
    except ImportError as error:
        raise StackError("rows of a lake are written by pyiceberg, which is not here: run `make setup`") from error
    columns = ", ".join(
        f"CAST({_SAID.get(name, f't.{name}')} AS {_TYPES.get(kind, kind)}) AS {name}"
        for name, kind in silver_columns(event).items()
    )
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        found = db.execute(
            f"SELECT {columns} FROM read_parquet($transactions, file_row_number = true) AS t "  # noqa: S608 - ours
            "LEFT JOIN read_parquet($products) AS p USING (product_id) ORDER BY transaction_timestamp LIMIT $rows",
            {"transactions": str(source("transactions")), "products": str(source("products")), "rows": rows},
        ).to_arrow_table()
    catalog.parent.mkdir(parents=True, exist_ok=True)
    lake = SqlCatalog(
        "lake",
        **{
            "uri": f"sqlite:///{catalog}",
            "warehouse": f"s3://{reach.s3_bucket}/lake",
            "s3.endpoint": reach.s3_endpoint,
            "s3.region": reach.s3_region,
            "s3.access-key-id": reach.s3_access_key,
            "s3.secret-access-key": reach.s3_secret_key,
        },
    )
    contract = event.contract
    lake.create_namespace(contract.domain)
    table = lake.create_table(f"{contract.domain}.silver_{contract.event}_v{contract.version}", schema=found.schema)
    table.append(found)
    lake.close()
    return table.metadata_location
