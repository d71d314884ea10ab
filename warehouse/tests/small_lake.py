"""What a test has of the small lake."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devstack.paths import StackPaths
from devstack.warehouse import dbt
from small_log import Sent

TABLES = (
    "stg_raw_events", "stg_raw_transactions", "stg_gold_days", "dim_users", "dim_products", "dim_stores", "dim_time",
    "fact_events", "fact_transactions", "metrics_daily_kpis",
)  # fmt: skip


@dataclass(frozen=True)
class Lake:
    """Gold stands at the end of `shown`; bronze and silver are further."""

    env: dict[str, str]
    paths: StackPaths
    python: Path
    shown: list[dict[str, Any]]
    sent: list[Sent]

    @property
    def duckdb_file(self) -> Path:
        return Path(self.env["DATAFORGE_WAREHOUSE_DUCKDB"])

    def said(self, target: str) -> Path:
        """Where dbt leaves what it says of a target; what it has parsed once it need not parse again."""
        return self.paths.of("warehouse") / target

    def dbt(self, verb: str, target: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = dbt.command(self.python, verb, target, ["--target-path", str(self.said(target)), *arguments])
        return subprocess.run(
            command, env={**self.env, **env}, cwd=dbt.WAREHOUSE, capture_output=True, text=True, check=False
        )
