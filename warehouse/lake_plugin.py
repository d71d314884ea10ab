"""What dbt-duckdb calls for each connection: the lake is attached to it."""

import os
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin

from duckdb_lake import attach


class Plugin(BasePlugin):
    def initialize(self, plugin_config: dict[str, Any]) -> None:
        self.domain = plugin_config["domain"]

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        attach(conn, self.domain, os.environ)
