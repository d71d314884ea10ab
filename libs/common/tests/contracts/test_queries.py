"""Queries in a domain folder: what one means, and that whoever wrote one wrongly is told where."""

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from dataforge.contracts.load import load_domain
from dataforge.contracts.model import Parameter
from dataforge.contracts.problems import DomainError

from shop import write_shop

RETAIL = Path(__file__).parents[4] / "domains" / "retail"
GOOD = """/*
description: The best customers
parameters:
  since: {type: date, min: 2020-01-01}
  skus: {type: [text], default: [A1]}
  size: {type: enum, allowed: [small, large], default: small, description: Of what}
  least: {type: number, default: null}
  top: {type: integer, default: 3, max: 9}
max_rows: 50
*/
SELECT customer, sum(amount) AS spent, max(:size) AS size
FROM silver.order
WHERE at >= :since AND sku IN (:skus) AND (:least IS NULL OR amount >= :least)
GROUP BY customer
ORDER BY spent DESC
LIMIT :top
"""


def shop_with(tmp_path: Path, sql: str, name: str = "best.sql") -> Path:
    folder = write_shop(tmp_path)
    (folder / "queries").mkdir()
    (folder / "queries" / name).write_text(sql)
    return folder


def problems_of(tmp_path: Path, sql: str, name: str = "best.sql") -> list[tuple[int, str]]:
    with pytest.raises(DomainError) as caught:
        load_domain(shop_with(tmp_path, sql, name), queries=True)
    assert {p.file.name for p in caught.value.problems} == {name}
    return [(p.line, p.message) for p in caught.value.problems]


def test_a_query(tmp_path: Path):
    folder = shop_with(tmp_path, GOOD)
    query = load_domain(folder, queries=True).queries["best"]
    assert (query.description, query.max_rows, query.sql) == ("The best customers", 50, GOOD)
    assert list(query.parameters.values()) == [
        Parameter("since", "date", minimum=date(2020, 1, 1)),
        Parameter("skus", "text", True, False, ("A1",)),
        Parameter("size", "enum", False, False, "small", allowed=("small", "large"), description="Of what"),
        Parameter("least", "number", False, False),
        Parameter("top", "integer", False, False, 3, maximum=9),
    ]
    assert load_domain(folder).queries == {}, "who does not ask for them reads none"


def test_every_query_of_retail_is_sound():
    queries = load_domain(RETAIL, queries=True).queries
    assert len(queries) >= 6
    assert all(query.description for query in queries.values())


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("/*", "", 1, "begins with /*"),
        ("description: The best customers\n", "", 2, "needs 'description'"),
        ("max_rows: 50", "max_rows: 0", 9, "max_rows"),
        ("max_rows: 50", "max_row: 50", 9, "did you mean 'max_rows'"),
        ("type: date, min", "type: dat, min", 4, "did you mean 'date'"),
        ("min: 2020-01-01", "min: never", 4, "a date like"),
        ("default: [A1]", "default: A1", 5, "a list"),
        ("allowed: [small, large], ", "", 6, "allowed"),
        ("default: small", "default: medium", 6, "one of small, large"),
        ("default: 3, max: 9", "default: 10, max: 9", 8, "at most 9"),
        ("default: 3, max: 9", "default: 3, maxi: 9", 8, "did you mean 'max'"),
        ("  top: {type", "  from: {type", 8, "a word of SQL's own"),
        ("LIMIT :top", "LIMIT 3", 8, "'top' is not used"),
        ("LIMIT :top", "LIMIT :tob", 0, "did you mean :top?"),
        ("LIMIT :top", "LIMIT :least", 0, "take one integer"),
        ("FROM silver.order", "FROM silver.orders", 12, "did you mean silver.order?"),
        ("sum(amount)", "sum(amuont)", 11, "did you mean amount?"),
        ("sum(amount)", "read_csv(amount)", 11, "read_csv"),
        ("sum(amount)", "avg(amount)", 11, "CAST(x AS double)"),
        ("GROUP BY customer", "GROUP customer", 14, ""),
        ("SELECT customer", "SELECT 1; SELECT customer", 0, "one SELECT"),
        ("SELECT customer", "DELETE FROM silver.order; SELECT customer", 0, "one SELECT"),
    ],
)
def test_what_is_wrong_is_named_by_its_line(tmp_path: Path, old: str, new: str, line: int, says: str):
    assert GOOD.count(old) == 1
    [(found, message)] = problems_of(tmp_path, GOOD.replace(old, new))
    assert says in message
    assert found == line or not line


def test_a_file_whose_name_is_none_is_named(tmp_path: Path):
    assert "a query is a small letter" in problems_of(tmp_path, GOOD, "Best-Customers.sql")[0][1]


def test_who_reads_no_queries_loads_no_parser_of_sql():
    said = (
        "import sys; from pathlib import Path; from dataforge.contracts.load import load_domain; "
        f"load_domain(Path({str(RETAIL)!r})); sys.exit('sqlglot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", said], check=False).returncode == 0
