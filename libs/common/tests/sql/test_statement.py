"""What may run, what is refused and what of it is said, without a database."""

from typing import Any

import pytest

from dataforge.contracts.model import Parameter
from dataforge.sql.bind import arguments, placed, places_of, shape_of
from dataforge.sql.problem import SqlProblem
from dataforge.sql.statement import MAX_CHARACTERS, Statement, is_parameter_name, read
from dataforge.sql.tables import tables_of
from dataforge.testing.kpis import sample_domain

TABLES = tables_of(sample_domain().events)
DAY = Parameter("day", "date")
STORES = Parameter("stores", "text", many=True)
TOP = Parameter("top", "integer")


def problem(sql: str, *parameters: Parameter) -> SqlProblem:
    with pytest.raises(SqlProblem) as caught:
        read(sql, TABLES, {p.name: p for p in parameters})
    return caught.value


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "SELECT store, sum(amount) FROM silver.sale GROUP BY store ORDER BY 2 DESC LIMIT 3",
        "WITH a AS (SELECT store FROM silver.sale) SELECT * FROM a UNION ALL SELECT store FROM silver.sale_v1",
        "SELECT s.store, g.value FROM silver.sale AS s JOIN gold.sale AS g ON g.day = CAST(s.df_time AS date)",
        'SELECT store FROM silver.sale s WHERE EXISTS (SELECT 1 FROM bronze.sale b WHERE b."offset" = s.df_offset)',
        "SELECT label FROM gold.sale CROSS JOIN UNNEST(labels) AS t(label)",
        "SELECT STORE, Df_Time FROM Silver.Sale",
        "SELECT count(*) FROM silver.sale -- a remark",
    ],
)
def test_it_may_run(sql: str):
    assert isinstance(read(sql, TABLES), Statement)


@pytest.mark.parametrize(
    "sql",
    [
        # more than one, or none
        "", ";", "-- nothing", "SELECT 1; SELECT 2", "SELECT 1; DROP TABLE silver.sale",
        # what writes, or changes something
        "INSERT INTO silver.sale SELECT * FROM silver.sale", "DELETE FROM silver.sale",
        "UPDATE silver.sale SET store = ''",
        "CREATE TABLE x AS SELECT 1", "DROP TABLE silver.sale", "COPY silver.sale TO 's3://b/x'", "SET threads = 1",
        "ATTACH 'x.db'", "PRAGMA database_list", "CALL f()", "INSTALL httpfs", "LOAD 'x'", "EXPLAIN SELECT 1",
        "UNLOAD (SELECT 1) TO 's3://b/x'", "EXPORT DATABASE 'x'", "SELECT store INTO x FROM silver.sale",
        "WITH a AS (INSERT INTO silver.sale SELECT 1) SELECT 1", "SELECT 1 FROM silver.sale FOR UPDATE",
        "DESCRIBE silver.sale", "SHOW TABLES", "USE x", "VACUUM", "CHECKPOINT", "EXECUTE x", "PREPARE x FROM SELECT 1",
        # files, the network, settings, secrets
        "SELECT * FROM read_parquet('s3://b/x')", "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM read_blob('/etc/passwd')", "SELECT * FROM glob('*')",
        "SELECT * FROM iceberg_scan('s3://b/x')", "SELECT * FROM parquet_scan('x')", "SELECT * FROM sniff_csv('x')",
        "SELECT * FROM '/etc/passwd'", "SELECT * FROM \"/etc/passwd\"", "SELECT * FROM \"s3://b/x.parquet\"",
        "SELECT getenv('HOME')", "SELECT current_setting('s3_access_key_id')", "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM duckdb_settings()", "SELECT * FROM which_secret('s3://b', 's3')",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM query_table('x')", "SELECT * FROM TABLE(read_csv('x'))", "SELECT write_log('x')",
        "SELECT * FROM information_schema.tables", "SELECT * FROM duckdb_settings", "SELECT * FROM sqlite_master",
        "SELECT * FROM pg_catalog.pg_tables", "SELECT * FROM lake.silver.sale",
        "SELECT * FROM system.main.duckdb_settings",
        # a name that another WITH has given
        "SELECT * FROM duckdb_settings, (WITH duckdb_settings AS (SELECT 1 AS a) SELECT * FROM duckdb_settings) AS x",
        "SELECT (WITH sqlite_master AS (SELECT 1 AS a) SELECT max(a) FROM sqlite_master), "
        "(SELECT max(name) FROM sqlite_master)",
        # what the engines do not share, or never ends
        "WITH RECURSIVE t AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM t) SELECT * FROM t",
        "SELECT transform(ARRAY[1], x -> x + 1)", "SELECT reduce(ARRAY[1], 0, (s, x) -> s + x, s -> s)",
        "SELECT * FROM silver.sale TABLESAMPLE BERNOULLI (1)", "SELECT random()", "SELECT uuid()",
        "SELECT DISTINCT ON (store) store FROM silver.sale", "SELECT COLUMNS('x') FROM silver.sale",
        "SELECT * FROM silver.sale PIVOT (sum(amount) FOR store IN ('a'))",
        "SELECT * FROM silver.sale, LATERAL (SELECT 1)",
        "SELECT * FROM silver.sale FOR VERSION AS OF 1", "SELECT 1 = ANY (SELECT 1)", "SELECT @x", "SELECT ?",
        "SELECT x'41'", "(SELECT 1)", "SELECT * FROM silver.sale MATCH_RECOGNIZE (PATTERN (x) DEFINE x AS 1)",
        "SELECT CAST(ROW(1) AS ROW(a integer))", "SELECT map(ARRAY[1], ARRAY[2])", "SELECT sleep(1)",
        "SELECT version()",
        # what they would answer differently
        "SELECT avg(amount) FROM silver.sale", "SELECT amount / 3 FROM silver.sale", "SELECT 1.0 / 3",
        "SELECT sum(amount) / count(*) FROM silver.sale", "SELECT df_ts - df_time FROM silver.sale",
        "SELECT CAST(df_time AS varchar) FROM silver.sale", "SELECT CAST(value AS varchar) FROM gold.sale",
        # nonsense
        "SELECT", "SELECT FROM", "SELECT 'x", "SELECT (1", "nonsense", "SELECT * FROM nowhere.sale",
        "SELECT * FROM silver.nope",
    ],
)  # fmt: skip
def test_it_is_refused(sql: str):
    assert problem(sql).message


def test_what_is_too_long_or_too_deep_is_refused():
    assert "characters" in problem("SELECT 1" + " " * MAX_CHARACTERS).message
    assert problem("SELECT " + "(" * 5_000 + "1" + ")" * 5_000).message


@pytest.mark.parametrize(
    ("sql", "says", "hint", "line"),
    [
        ("SELECT store,\n  amont\nFROM silver.sale", "amont", "did you mean amount?", 2),
        ("SELECT s.store,\n  s.amont\nFROM silver.sale s", "amont", "did you mean amount?", 2),
        ("SELECT 1\nFROM silver.sal", "silver.sal", "did you mean silver.sale?", 2),
        ("SELECT store,\n cout(*) FROM silver.sale", "cout", "did you mean count?", 2),
        ("SELECT\n read_parquet('x')", "read_parquet", "docs/specs/queries.md", 0),
        ("SELECT df_time\nFROM silver.sale AS a, silver.sale AS b", "df_time", "p.column", 1),
        ("SELECT 1\nWHERE\nFROM", "", "", 3),
        ("SELECT :dai", ":dai", "did you mean :day?", 0),
    ],
)
def test_problems_name_what_is_wrong_and_what_to_write_instead(sql: str, says: str, hint: str, line: int):
    found = problem(sql, DAY)
    assert says in found.message
    assert hint in found.hint
    assert found.line == line or not line


@pytest.mark.parametrize(
    ("name", "fits"), [("day", True), ("since", True), ("by", True), ("from", False), ("select", False)]
)
def test_words_of_sql_are_no_parameters(name: str, fits: bool):
    assert is_parameter_name(name) is fits


def bound(sql: str, values: dict[str, Any], *parameters: Parameter, rows: int = 100) -> tuple[str, dict[str, Any], int]:
    declared = {p.name: p for p in parameters}
    statement = read(sql, TABLES, declared)
    shape = shape_of(statement, declared, values, rows)
    tree = placed(statement, shape)
    return tree.sql(dialect="athena"), arguments(values, places_of(tree)), shape.limit


def test_values_are_bound_lists_too_and_never_become_text():
    sql = "SELECT store FROM silver.sale WHERE store IN (:stores) OR cardinality(:stores) = 0"
    evil = ("x'); DROP TABLE silver.sale; --", "y")
    text, values, _ = bound(sql, {"stores": evil}, STORES)
    assert not any(each in text for each in ("DROP", "'x", "y'"))
    assert set(values.values()) == set(evil)
    assert text.count("IN (CAST(:i0_stores AS VARCHAR), CAST(:i1_stores AS VARCHAR))") == 1


def test_nothing_is_in_an_empty_list():
    text, values, _ = bound("SELECT 1 FROM silver.sale WHERE NOT store IN (:stores)", {"stores": ()}, STORES)
    assert "NOT FALSE" in text
    assert values == {}


@pytest.mark.parametrize(
    ("sql", "top", "limit"),
    [
        ("SELECT store FROM silver.sale", 1, 101),
        ("SELECT store FROM silver.sale LIMIT 7", 1, 7),
        ("SELECT store FROM silver.sale LIMIT 7000", 1, 101),
        ("SELECT store FROM silver.sale LIMIT :top", 5, 5),
        ("SELECT store FROM silver.sale LIMIT :top", 5_000, 101),
        ("SELECT store FROM silver.sale UNION ALL SELECT store FROM silver.sale ORDER BY 1 LIMIT 3", 1, 3),
    ],
)
def test_no_more_rows_are_fetched_than_may_be_answered(sql: str, top: int, limit: int):
    parameters = (TOP,) if ":top" in sql else ()
    text, _, found = bound(sql, {"top": top} if parameters else {}, *parameters)
    assert found == limit
    assert text.endswith(f"LIMIT {limit}")


def test_columns_without_a_name_have_the_one_that_athena_gives_them():
    tree = read("SELECT count(*), store, store || 'x', (SELECT 1) FROM silver.sale GROUP BY store", TABLES).tree
    assert tree.named_selects == ["_col0", "store", "_col2", "_col3"]


def test_the_same_question_is_the_same_text_however_it_is_written():
    one = read("select  STORE, count( * ) from silver.sale -- x\n group by 1", TABLES)
    other = read("SELECT store, COUNT(*) FROM silver.sale GROUP BY store", TABLES)
    assert one.text == other.text
    assert not one.volatile
    assert read("SELECT current_date", TABLES).volatile
