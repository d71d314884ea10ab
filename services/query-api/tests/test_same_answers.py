"""The same answers: Athena's dialect, over real Iceberg tables in a real store, as plain Python counts them."""

import math
from datetime import date
from typing import Any

import pytest

from dataforge.sql.bind import shape_of
from dataforge.sql.problem import SqlProblem
from dataforge.sql.statement import read
from dataforge.sql.tables import tables_of

from query_api.query.answer import Rows
from query_api.query.catalog import Lake
from query_api.query.duckdb_engine import DuckDB
from query_api.query.engine import Engine, Question
from query_api.query.problems import QueryProblem
from shop_answers import CASES
from shop_lake import ShopLake, drawn

pytestmark = pytest.mark.integration
ROWS = drawn()


async def answered(engine: Engine, lake: Lake, shop: ShopLake, sql: str, max_rows: int = 1_000) -> Rows:
    statement = read(sql, tables_of(shop.domain.events))
    question = Question(sql, statement, {}, {}, shape_of(statement, {}, {}, max_rows), max_rows)
    return await engine.run(question, await lake.located(statement.tables))


@pytest.mark.parametrize("name", CASES)
async def test_the_answer_is_what_python_counts(engine: DuckDB, lake: Lake, shop: ShopLake, name: str):
    case = CASES[name]
    found = await answered(engine, lake, shop, case.sql)
    rows, expected = [[_told(value) for value in row] for row in found.rows], case.expected(ROWS)
    assert len(rows) == len(expected)
    differ = [(a, b) for a, b in zip(rows, expected, strict=True) if not _close(a, list(b))]
    assert not differ[:3]


async def test_approximations_are_near(engine: DuckDB, lake: Lake, shop: ShopLake):
    sql = "SELECT approx_distinct(sale), approx_percentile(CAST(amount AS double), 0.5) FROM silver.sale"
    [[distinct, median]] = (await answered(engine, lake, shop, sql)).rows
    amounts = sorted(float(row["amount"]) for row in ROWS)
    assert distinct == pytest.approx(len(ROWS), rel=0.2)
    assert amounts[int(0.45 * len(amounts))] <= median <= amounts[int(0.55 * len(amounts))]


async def test_columns_have_athenas_types(engine: DuckDB, lake: Lake, shop: ShopLake):
    sql = (
        "SELECT df_partition, product, amount, weight, gift, at, CAST(at AS date) AS day, store, labels, sketch, "
        "sum(quantity) OVER () AS units FROM silver.sale, gold.sale LIMIT 1"
    )
    found = await answered(engine, lake, shop, sql)
    assert [column.type for column in found.columns] == [
        "integer", "bigint", "decimal(18,2)", "double", "boolean", "timestamp with time zone", "date", "varchar",
        "array(varchar)", "varbinary", "bigint",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT quantity / (quantity - quantity) FROM silver.sale",
        "SELECT quantity % 0 FROM silver.sale",
        "SELECT CAST(store AS bigint) FROM silver.sale",
        "SELECT 9223372036854775807 + quantity FROM silver.sale",
        "SELECT sum(9000000000000000000 + 0 * quantity) FROM silver.sale",
    ],
)
async def test_what_athena_refuses_while_it_runs_is_refused(engine: DuckDB, lake: Lake, shop: ShopLake, sql: str):
    with pytest.raises((QueryProblem, SqlProblem)) as caught:
        await answered(engine, lake, shop, sql)
    assert getattr(caught.value, "code", "bad_query") == "bad_query"


async def test_more_rows_than_asked_for_are_cut_and_it_says_so(engine: DuckDB, lake: Lake, shop: ShopLake):
    found = await answered(engine, lake, shop, "SELECT sale FROM silver.sale ORDER BY at", 7)
    assert ([row[0] for row in found.rows], found.truncated) == ([f"s-{n}" for n in range(7)], True)
    assert not (await answered(engine, lake, shop, "SELECT sale FROM silver.sale ORDER BY at LIMIT 7", 7)).truncated


def _told(value: Any) -> Any:
    if isinstance(value, list):
        return [_told(each) for each in value]
    return value.isoformat() if isinstance(value, date) else value


def _close(found: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return len(found) == len(expected) and all(_close(a, b) for a, b in zip(found, expected, strict=True))
    if isinstance(expected, float):
        return isinstance(found, float) and math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12)
    return found == expected and isinstance(found, bool) == isinstance(expected, bool)
