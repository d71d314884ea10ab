"""Silver's rows: the contract's types, to the last digit, and each event once."""

import json
from decimal import Decimal

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dataforge.contracts.model import Domain

from lake.schema import column_of, event_columns, silver_columns
from lake.transforms.enrich import enriched
from lake.transforms.first import earliest
from lake.transforms.typed import decoder, typed
from orders import CATEGORIES, Sent, drawn

pytestmark = pytest.mark.small

_BRONZE = "value binary, ts timestamp, partition int, offset bigint, judged_offset bigint, contract bigint"


def bronze(spark: SparkSession, sent: list[Sent]):
    frame = spark.createDataFrame(
        [(one.value, one.ts_ms, one.partition, one.offset, one.offset, 7) for one in sent if one.valid],
        _BRONZE.replace("ts timestamp", "ts bigint"),
    )
    return frame.withColumn("ts", F.timestamp_millis("ts"))


def test_columns_are_the_contracts(domain: Domain):
    columns = dict(event_columns(domain.events[0].contract))
    assert columns == {
        "order": "string",
        "at": "timestamp",
        "customer": "string",
        "sku": "string",
        "status": "string",
        "quantity": "bigint",
        "amount": "decimal(18,2)",
        "shipping": "decimal(18,3)",
        "weight": "double",
        "gift": "boolean",
        "tags": "string",
        "df__file": "string",
    }
    names = [column.name for column in silver_columns(domain.events[0])]
    assert len(set(names)) == len(names)
    assert "dim_category" in names


def test_no_two_fields_share_a_column():
    fields = ["a", "A", "_file", "df__file", "df_file", "dim_a", "df_dim_a", "df_df_file"]
    assert len(set(map(column_of, fields))) == len(fields)


def test_every_value_is_what_was_sent(spark: SparkSession, domain: Domain):
    event, sent = domain.events[0], drawn(1, 400)
    rows = enriched(typed(bronze(spark, sent), event.contract), event)
    shown = rows.withColumns(
        {"at_ms": F.unix_millis("at"), "time_ms": F.unix_millis("df_time"), "ts_ms": F.unix_millis("df_ts")}
    )
    found = {(row["df_partition"], row["df_offset"]): row for row in shown.drop("at", "df_time", "df_ts").collect()}
    valid = [one for one in sent if one.valid]
    assert len(found) == len(valid)
    for one in valid:
        row, is_ = found[one.partition, one.offset], one.event
        assert is_ is not None
        assert (row["df_id"], row["order"], row["df_contract"], row["ts_ms"]) == (
            is_["order"],
            is_["order"],
            7,
            one.ts_ms,
        )
        assert row["at_ms"] == row["time_ms"] == is_["at_ms"]
        assert row["amount"] == Decimal(is_["amount"]).scaleb(-2)
        assert row["shipping"] == (None if is_["shipping"] is None else Decimal(is_["shipping"]).scaleb(-3))
        for name in ("customer", "sku", "status", "quantity", "weight", "gift"):
            assert row[name] == is_[name], name
        assert row["df__file"] == is_["_file"]
        assert row["tags"] == (None if is_["tags"] is None else json.dumps(is_["tags"], separators=(",", ":")))
        assert row["dim_category"] == CATEGORIES.get(is_["sku"])


def test_decimals_have_no_limit_but_the_contracts(domain: Domain):
    values = [0.0, -0.01, 0.01, 1e13 - 0.01, -1e13, 0.07, 8.29, 1.15]
    text = [
        json.dumps(
            {
                "order": "o",
                "at": "2026-01-01T00:00:00Z",
                "customer": "c",
                "sku": "s",
                "status": "t",
                "quantity": 1,
                "amount": v,
            }
        )
        for v in values
    ]
    batch = pa.RecordBatch.from_pydict(
        {
            "value": [t.encode() for t in text],
            "ts": pa.array([0] * len(text), pa.timestamp("us", tz="UTC")),
            **{name: [0] * len(text) for name in ("partition", "offset", "judged_offset", "contract")},
        }
    )
    [found] = decoder(domain.events[0].contract)(iter([batch]))
    assert found.column("amount").to_pylist() == [Decimal(repr(v)).quantize(Decimal("0.01")) for v in values]


def test_of_one_id_the_earliest_stays(spark: SparkSession, domain: Domain):
    sent = drawn(2, 400)
    rows = earliest(typed(bronze(spark, sent), domain.events[0].contract))
    found = {row["df_id"]: (row["df_partition"], row["df_offset"]) for row in rows.collect()}
    expected: dict[str, Sent] = {}
    for one in sorted(sent, key=lambda one: (one.ts_ms, one.partition, one.offset)):
        if one.valid and one.event:
            expected.setdefault(one.event["order"], one)
    assert len(expected) < sum(one.valid for one in sent)
    assert found == {id_: (one.partition, one.offset) for id_, one in expected.items()}
