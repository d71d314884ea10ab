"""Queries as each engine takes them, without one: tables, formats, values, and what Athena's texts mean."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from dataforge.contracts.model import Parameter
from dataforge.sql.bind import arguments, placed, places_of, shape_of
from dataforge.sql.problem import SqlProblem
from dataforge.sql.statement import read
from dataforge.sql.tables import tables_of
from dataforge.testing.kpis import sample_domain

from query_api.query.answer import Column, athena_type, plain
from query_api.query.athena_sql import Sent, parameters_of, rendered, value_of
from query_api.query.duckdb_sql import translate
from query_api.query.formats import strftime_of

TABLES = tables_of(sample_domain().events)
DECLARED = {
    "since": Parameter("since", "timestamp"),
    "stores": Parameter("stores", "text", many=True),
    "by": Parameter("by", "text"),
    "least": Parameter("least", "number", required=False),
}
VALUES: dict[str, Any] = {
    "since": datetime(2026, 1, 5, 10, tzinfo=UTC),
    "stores": ("it's", "b"),
    "by": "store",
    "least": None,
}


def sent(sql: str) -> tuple[Sent, list[str]]:
    used = {name: each for name, each in DECLARED.items() if f":{name}" in sql}
    values = {name: VALUES[name] for name in used}
    statement = read(sql, TABLES, used)
    tree = placed(statement, shape_of(statement, used, values, 10))
    found = rendered(tree, statement.tables)
    return found, parameters_of(found.places, arguments(values, places_of(tree)))


def test_athena_gets_glues_tables_and_values_in_order():
    found, values = sent(
        "SELECT store, ':since' AS text FROM silver.sale WHERE store IN (:stores) AND df_time >= :since "
        "AND (:least IS NULL OR CAST(amount AS double) >= :least)"
    )
    assert found.text == (
        'SELECT "sale"."store" AS "store", \':since\' AS "text" FROM "shop"."silver_sale_v1" AS "sale" WHERE '
        '"sale"."store" IN (CAST(? AS VARCHAR), CAST(? AS VARCHAR)) AND "sale"."df_time" >= '
        "CAST(? AS TIMESTAMP WITH TIME ZONE) AND (CAST(? AS DOUBLE) IS NULL OR "
        'CAST("sale"."amount" AS DOUBLE) >= CAST(? AS DOUBLE)) LIMIT 11'
    )
    assert values == ["'it''s'", "'b'", "'2026-01-05 10:00:00.000000 UTC'", "NULL", "NULL"]


def test_a_parameter_in_select_and_group_by_is_one_expression_to_athena():
    found, values = sent("SELECT IF(:by = 'store', store, customer) AS who, count(*) FROM silver.sale GROUP BY 1")
    assert found.text.endswith("GROUP BY 1 LIMIT 11")
    assert values == ["'store'"]


def test_arrays_come_as_json():
    found, _ = sent("SELECT labels, day FROM gold.sale")
    assert found.arrays == {"labels": "array(varchar)"}
    assert 'JSON_FORMAT(CAST("sale"."labels" AS JSON)) AS "labels"' in found.text
    with pytest.raises(SqlProblem, match="UNION"):
        sent("SELECT labels FROM gold.sale UNION ALL SELECT labels FROM gold.sale")


def test_what_athena_would_not_take_is_refused():
    with pytest.raises(SqlProblem, match="longer"):
        parameters_of(["p"], {"p": "x" * 2_000})


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("bigint", "-5", -5),
        ("double", "1.5E3", 1500.0),
        ("decimal(38,2)", "12.50", Decimal("12.50")),
        ("boolean", "false", False),
        ("date", "2026-01-05", date(2026, 1, 5)),
        ("timestamp with time zone", "2026-01-05 10:00:00.250 UTC", datetime(2026, 1, 5, 10, 0, 0, 250_000, UTC)),
        ("timestamp", "2026-01-05 10:00:00.000", datetime(2026, 1, 5, 10, tzinfo=UTC)),
        ("varbinary", "00 ff", b"\x00\xff"),
        ("varchar", "NULL", "NULL"),
        ("varchar", None, None),
        ("array(varchar)", '["a,b", null]', ["a,b", None]),
        ("array(date)", '["2026-01-05"]', [date(2026, 1, 5)]),
    ],
)
def test_athenas_texts(kind: str, text: str | None, value: Any):
    assert value_of(kind, text) == value


@pytest.mark.parametrize(
    ("pattern", "format_"),
    [
        ("yyyy-MM-dd HH:mm:ss.SSS", "%Y-%m-%d %H:%M:%S.%g"),
        ("d. MMM ''yy 'at' h a", "%-d. %b '%y at %-I %p"),
        ("100%", "100%%"),
    ],
)
def test_formats(pattern: str, format_: str):
    assert strftime_of(pattern) == format_


@pytest.mark.parametrize("pattern", ["QQQ", "yyyyy", "'open", "zzz"])
def test_formats_that_have_no_counterpart_are_refused(pattern: str):
    with pytest.raises(SqlProblem, match="format_datetime"):
        strftime_of(pattern)


def test_duckdb_reads_the_files_and_quotes_their_names():
    statement = read("SELECT store FROM silver.sale", TABLES)
    tree = placed(statement, shape_of(statement, {}, {}, 10))
    assert "ICEBERG_SCAN('s3://b/it''s.json')" in translate(tree, {"silver.sale": "s3://b/it's.json"})


@pytest.mark.parametrize(
    ("duckdb", "athena"),
    [("BIGINT", "bigint"), ("DECIMAL(18,2)", "decimal(18,2)"), ("VARCHAR[]", "array(varchar)"), ("BLOB", "varbinary")],
)
def test_types_have_athenas_names(duckdb: str, athena: str):
    assert athena_type(duckdb) == athena


def test_values_are_what_json_has():
    at = datetime(2026, 1, 5, 10, 0, 0, 250_000, UTC)
    columns = [Column("a", "double"), Column("b", "timestamp"), Column("c", "array(timestamp with time zone)")]
    [row] = plain(columns, [(float("nan"), at, [at, None])])
    assert row == [None, "2026-01-05T10:00:00.250Z", ["2026-01-05T10:00:00.250Z", None]]
    assert plain([Column("a", "bigint")], [(1,)]) == [(1,)]


@pytest.mark.parametrize("number", [1234567.89, 0.1, -1e-300, 5e300, 2.0**53])
def test_athena_gets_all_digits_of_a_number(number: float):
    statement = read("SELECT store FROM silver.sale WHERE amount >= :least", TABLES, {"least": DECLARED["least"]})
    tree = placed(statement, shape_of(statement, {"least": DECLARED["least"]}, {"least": number}, 10))
    [value] = parameters_of(rendered(tree, statement.tables).places, arguments({"least": number}, places_of(tree)))
    assert float(value) == number
