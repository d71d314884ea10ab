"""The local catalog: an SQLite file that Iceberg's JDBC catalog, and every other SQL catalog of Iceberg, can share.

Its two tables are made here, before Spark connects. Were Spark to make them (`jdbc.init-catalog-tables`), its
connection would keep reading the snapshot of the file that it had then: its own commits would look undone.
*Source*: the JDBC catalog's schema V1.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

_TABLES = """
CREATE TABLE IF NOT EXISTS iceberg_tables (
    catalog_name VARCHAR(255) NOT NULL,
    table_namespace VARCHAR(255) NOT NULL,
    table_name VARCHAR(255) NOT NULL,
    metadata_location VARCHAR(1000),
    previous_metadata_location VARCHAR(1000),
    iceberg_type VARCHAR(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name)
);
CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
    catalog_name VARCHAR(255) NOT NULL,
    namespace VARCHAR(255) NOT NULL,
    property_key VARCHAR(255),
    property_value VARCHAR(1000),
    PRIMARY KEY (catalog_name, namespace, property_key)
);
"""
_BUSY_S = 30


def prepared(file: Path) -> str:
    """Make the catalog where there is none yet; its JDBC address. Safe beside others that do the same."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(file.parent), closing(sqlite3.connect(file, timeout=_BUSY_S)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(_TABLES)
    return f"jdbc:sqlite:{file.absolute()}?journal_mode=WAL&busy_timeout={_BUSY_S * 1000}"


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """SQLite does not wait where two change a new file to WAL at once, whatever its timeout: one of them is refused."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
