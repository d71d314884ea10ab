"""Settings of query-api, read from the environment."""

from pathlib import Path

from pydantic import Field, SecretStr

from dataforge.runtime.settings import ServiceSettings

GLUE = "glue"


class ApiSettings(ServiceSettings):
    host: str = Field(default="0.0.0.0", description="Address the API listens on")  # noqa: S104
    port: int = Field(default=8080, ge=0, le=65535, description="Port the API listens on; 0 takes a free one")
    ws_url: str = Field(
        default="ws://localhost:8081",
        pattern=r"^wss?://",
        description="Address of ws-gateway, told to clients and to the live page",
        examples=["wss://live.example.com"],
    )
    cors_origins: str = Field(
        default="http://localhost:*,http://127.0.0.1:*",
        description="Origins whose pages may call the API, separated by commas; `:*` is any port",
        examples=["https://dashboard.example.com"],
    )
    fresh_ms: int = Field(
        default=50,
        ge=0,
        le=1_000,
        description="Whoever asks `GET /metrics` the same within this time shares one answer; 0 shares none",
    )
    ledger_limit_s: float = Field(
        default=60, gt=0, description="How long a ledger may stay unbalanced before it becomes an alert"
    )
    ledger_interval_s: float = Field(default=5, gt=0, description="Time between two looks at the ledger")

    analyst_token: SecretStr | None = Field(
        default=None, description="Token of those who may also send SQL of their own; unset: nobody may"
    )
    lake_catalog: str = Field(
        default=".dataforge/lake/catalog.db",
        min_length=1,
        description=f"File of the lake's SQLite catalog, queried by DuckDB; `{GLUE}` for AWS Glue, queried by Athena",
        examples=[".dataforge/lake/catalog.db", GLUE],
    )
    lake_warehouse: str | None = Field(
        default=None,
        pattern=r"^s3://",
        description="Where the lake's files are; unset: s3://<bucket>/lake",
        examples=["s3://dataforge/lake"],
    )
    cache_url: str | None = Field(
        default=None,
        pattern=r"^(rediss?|unix)://",
        description="Redis or Valkey that keeps queries' answers, never the one with the state; unset: none are kept",
        examples=["redis://localhost:6380/0"],
    )
    cache_ttl_s: int = Field(default=3_600, ge=1, description="How long an answer is kept")
    cache_entry_bytes: int = Field(default=2**20, ge=0, description="Larger answers are not kept")
    query_workers: int = Field(default=2, ge=1, le=64, description="Queries that run at once")
    query_queue: int = Field(default=32, ge=0, description="Queries that may wait; more are refused")
    query_time_limit_s: float = Field(default=30, gt=0, description="A query that waits and runs for longer is ended")
    query_max_rows: int = Field(default=10_000, ge=1, le=100_000, description="Rows of one answer at most")
    query_memory: str = Field(
        default="1GB",
        pattern=r"^\d+(MB|GB)$",
        description="Memory of all queries together, with what they keep of files",
    )
    query_threads: int = Field(default=0, ge=0, description="Threads of all queries together; 0: one for each core")
    athena_workgroup: str = Field(default="primary", min_length=1, description="Where Athena counts what a query reads")
    athena_output: str | None = Field(
        default=None, pattern=r"^s3://", description="Where Athena puts results; unset: as the workgroup says"
    )
    aws_endpoint: str | None = Field(
        default=None, pattern=r"^https?://", description="Address of Athena and Glue; unset: those of AWS"
    )

    @property
    def warehouse(self) -> str:
        return (self.lake_warehouse or f"s3://{self.s3_bucket}/lake").rstrip("/")

    @property
    def catalog_file(self) -> Path | None:
        """None where the catalog is Glue."""
        return None if self.lake_catalog == GLUE else Path(self.lake_catalog)

    @property
    def origins(self) -> tuple[str, ...]:
        return tuple(o.strip() for o in self.cors_origins.split(",") if o.strip())
