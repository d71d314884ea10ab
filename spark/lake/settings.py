"""What the lake needs to know. The only module of it that reads the environment (DESIGN R9)."""

from pydantic import Field, SecretStr

from dataforge.runtime.settings import ServiceSettings

GLUE = "glue"
SUBMITTED = "submitted"


class LakeSettings(ServiceSettings):
    """Besides the shared settings: where the tables are, and how Spark runs."""

    lake_catalog: str = Field(
        default=".dataforge/lake/catalog.db",
        min_length=1,
        description=f"File of the SQLite catalog; `{GLUE}` for AWS Glue",
        examples=[".dataforge/lake/catalog.db", GLUE],
    )
    lake_warehouse: str | None = Field(
        default=None,
        pattern=r"^s3://",
        description="Where the tables' files are; unset: s3://<bucket>/lake",
        examples=["s3://dataforge/lake"],
    )
    lake_master: str = Field(
        default="local[*]",
        description=f"Spark's master; `{SUBMITTED}` leaves master, Java and jars to spark-submit",
        examples=["local[2]", SUBMITTED],
    )
    lake_jars: str = Field(default="", description="Jars of Iceberg and the catalog, separated like a class path")
    lake_memory: str = Field(default="2g", pattern=r"^\d+[mg]$", description="Heap of a local Spark")
    lake_commit_rows: int = Field(
        default=1_000_000,
        ge=1,
        description="Rows, about, that one commit, or one transaction of an export, takes at most",
    )
    lake_postgres_url: SecretStr | None = Field(
        default=None,
        description="Where `run export` takes the tables",
        examples=["postgresql://user:password@localhost:5432/warehouse"],
    )
    lake_interval_s: float = Field(
        default=15,
        gt=0,
        description="The stream looks at the logs this often; where it is behind it does not wait. Each round is a "
        "commit, and each commit writes anew what the table knows of its snapshots",
    )

    lake_bronze_days: int | None = Field(
        default=None, ge=1, description="Days of bronze to keep, back from its newest record; unset: for ever"
    )
    lake_silver_days: int | None = Field(
        default=None, ge=1, description="Days of silver to keep, back from bronze's newest record; unset: for ever"
    )
    lake_snapshot_hours: float = Field(
        default=24, ge=1, description="How long a snapshot that is no longer current can be travelled back to"
    )
    lake_orphan_hours: float = Field(
        default=72, ge=24, description="Files younger than this are no orphans: a job may still be writing them"
    )

    @property
    def warehouse(self) -> str:
        return (self.lake_warehouse or f"s3://{self.s3_bucket}/lake").rstrip("/")

    @property
    def postgres_url(self) -> str | None:
        return self.lake_postgres_url.get_secret_value() if self.lake_postgres_url else None

    @property
    def submitted(self) -> bool:
        """Somebody else started Spark, on machines that need not be this one."""
        return self.lake_master == SUBMITTED
