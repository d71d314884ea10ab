"""DuckDB's extensions for Iceberg over S3, as files of installed packages: nothing is downloaded."""

from importlib.util import find_spec
from pathlib import Path

_NAMES = ("httpfs", "avro", "iceberg")
"""In the order in which they must be loaded."""


def files() -> list[Path]:
    """*Raises* `FileNotFoundError` where one is not installed."""
    return [_file(name) for name in _NAMES]


def _file(name: str) -> Path:
    spec = find_spec(f"duckdb_extension_{name}")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for found in sorted(Path(folder).rglob(f"{name}.duckdb_extension")):
            return found
    raise FileNotFoundError(f"DuckDB's extension {name} is not installed: the package duckdb-extension-{name} has it")
