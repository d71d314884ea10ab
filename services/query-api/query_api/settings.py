"""Settings of query-api, read from the environment."""

from pydantic import Field

from dataforge.runtime.settings import ServiceSettings


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

    @property
    def origins(self) -> tuple[str, ...]:
        return tuple(o.strip() for o in self.cors_origins.split(",") if o.strip())
