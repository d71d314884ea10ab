"""Settings every service has, read from the environment. The only module that reads it (DESIGN R9).

AWS credentials come by the standard `AWS_*` variables, which the AWS SDK reads itself.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "DATAFORGE_"
EXIT_SETTINGS = 2
"""Exit code of a process whose settings are not usable."""


def _bootstrap(value: str) -> str:
    for server in value.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{server!r} is not host:port")
    return ",".join(server.strip() for server in value.split(","))


Bootstrap = Annotated[str, AfterValidator(_bootstrap)]


class ServiceSettings(BaseSettings):
    """What every service needs to know. A service adds its own fields in a subclass."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="ignore")

    kafka: Bootstrap = Field(
        default="localhost:9092",
        description="Kafka bootstrap servers",
        examples=["localhost:9092", "kafka-1:9092,kafka-2:9092"],
    )
    redis_url: str = Field(
        default="redis://localhost:6379/0",
        pattern=r"^(rediss?|unix)://",
        description="Redis or Valkey that holds the partitions' state",
        examples=["redis://localhost:6379/0"],
    )
    s3_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Address of an S3-compatible store; unset means AWS",
        examples=["http://localhost:9000"],
    )
    s3_bucket: str = Field(default="dataforge", min_length=3, description="Bucket", examples=["dataforge"])
    s3_region: str = Field(default="us-east-1", description="Region of the bucket", examples=["us-east-1"])
    domains: str = Field(
        default="domains",
        description="Domain folders, or folders of domain folders, separated like PATH",
        examples=["/etc/dataforge/domains", f"domains/retail{os.pathsep}/data/my-domain"],
    )
    admin_host: str = Field(default="0.0.0.0", description="Address the admin port listens on")  # noqa: S104
    admin_port: int = Field(
        default=0, ge=0, le=65535, description="Port of /healthz, /readyz and /metrics; 0 takes a free one"
    )
    otlp_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="OTLP/HTTP collector that takes the traces; unset means none are exported",
        examples=["http://localhost:4318"],
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Least level logged")
    instance: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
        description="Name that stays the same over restarts: makes this worker a static member of its Kafka group. "
        "Leave it unset where the orchestrator gives no stable name",
        examples=["quality-worker-0"],
    )
    api_token: SecretStr | None = Field(
        default=None,
        min_length=1,
        description="Token that clients of the APIs must present; unset means none is asked for",
    )
    session_timeout_s: float = Field(
        default=6, gt=0, description="Kafka gives a worker's partitions to others when it was silent for this long"
    )
    request_timeout_s: float = Field(default=20, gt=0, description="Longest wait for an answer of Kafka")
    fetch_rest_ms: int | None = Field(
        default=None,
        ge=1,
        le=5_000,
        description="While there is little, a worker fetches this often: the more, the less its work costs, and the "
        "later it is done. Unset: what suits its work",
        examples=[30],
    )
    stall_limit_s: float = Field(
        default=60, gt=0, description="The process exits when its event loop or one batch hangs for longer"
    )

    @property
    def domain_folders(self) -> tuple[Path, ...]:
        """The paths of `domains`, in order, as given."""
        return tuple(Path(part) for part in self.domains.split(os.pathsep) if part)


S = TypeVar("S", bound=BaseSettings)


def load_settings(cls: type[S]) -> S:
    """Read the settings; where they are not usable, say why on stderr, one line a variable, and exit 2."""
    try:
        return cls()
    except ValidationError as error:
        sys.stderr.write("".join(f"{line}\n" for line in explain(cls, error)))
        raise SystemExit(EXIT_SETTINGS) from None


def explain(cls: type[BaseSettings], error: ValidationError) -> list[str]:
    """One line per variable: its full name, what is wrong with it, an example. Never shows its value."""
    prefix = cls.model_config.get("env_prefix", "")
    lines: list[str] = []
    for problem in error.errors(include_url=False, include_input=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        field = cls.model_fields.get(name)
        message = problem["msg"].removeprefix("Value error, ")
        line = f"{prefix}{name.upper()}: {message}" if name else f"settings: {message}"
        examples = field.examples if field and field.examples else None
        if examples is None and field is not None and field.default is not None and not field.is_required():
            examples = [field.default]
        lines.append(f"{line} (example: {prefix}{name.upper()}={examples[0]})" if examples else line)
    return lines
