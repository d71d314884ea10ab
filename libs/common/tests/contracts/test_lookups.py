"""What the reference tables that a lookup names are read as."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataforge.contracts.lookups import read_lookups, whole_keys
from dataforge.contracts.problems import Problems

DOMAINS = Path(__file__).parents[4] / "domains"


def lookup(folder: Path, **columns: pa.ChunkedArray) -> dict[str, dict[str, str]]:
    pq.write_table(pa.table(columns), folder / "products.parquet", row_group_size=2)
    (folder / "lookups.yaml").write_text("products: {source: products.parquet, key: key}\n")
    problems = Problems()
    found = read_lookups(folder, problems)
    problems.raise_any()
    return found["products"]


@pytest.mark.parametrize(
    ("type_", "values", "texts"),
    [
        (pa.string(), ["tea", None, "", "Käse", "🧀", "x"], ["tea", None, "", "Käse", "🧀", "x"]),
        (pa.large_string(), ["tea", None, "Käse"], ["tea", None, "Käse"]),
        (pa.int64(), [7, None, -(2**63), 2**63 - 1], ["7", None, str(-(2**63)), str(2**63 - 1)]),
        (pa.uint8(), [0, None, 255], ["0", None, "255"]),
        (pa.float64(), [7.0, None, 0.5, float("nan")], ["7", None, "0.5", None]),
        (pa.bool_(), [True, None, False], ["true", None, "false"]),
        (pa.string(), [None, None, None], [None, None, None]),
    ],
)
def test_every_value_is_the_text_that_an_event_has_of_it(
    tmp_path: Path, type_: pa.DataType, values: list[Any], texts: list[str | None]
) -> None:
    whole = pa.array([None, *values, None], type_)
    parts = pa.chunked_array([whole.slice(1, 1), whole.slice(1, 0), whole.slice(2, len(values) - 1)])
    keys = [f"k{n}" for n in range(len(values))]
    found = lookup(tmp_path, key=pa.chunked_array([keys]), value=parts)
    assert found["value"] == {key: text for key, text in zip(keys, texts, strict=True) if text is not None}


def test_keys_are_what_events_write(tmp_path: Path) -> None:
    found = lookup(tmp_path, key=pa.chunked_array([pa.array([7, 8], pa.int32())]), value=pa.chunked_array([["a", "b"]]))
    assert found == {"key": {"7": "7", "8": "8"}, "value": {"7": "a", "8": "b"}}


@pytest.mark.parametrize(("keys", "expected"), [(["7", "007", "x", "-3"], {"7": "007", "-3": "-3"}), ([], {})])
def test_keys_of_a_lookup_of_integers_are_numbers(keys: list[str], expected: dict[str, str]) -> None:
    assert whole_keys({key: key for key in keys}) == expected


def test_a_domain_is_read_without_pandas() -> None:
    """Which comes with the data's own package, and would be a seventh of every start of a service."""
    program = (
        "import sys; from pathlib import Path; from dataforge.contracts.load import load_domains; "
        f"assert load_domains([Path({str(DOMAINS / 'retail')!r})])[0].lookups; assert 'pandas' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
