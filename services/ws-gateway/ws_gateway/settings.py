"""Settings of ws-gateway, read from the environment."""

from dataclasses import dataclass

from pydantic import Field

from dataforge.runtime.settings import ServiceSettings


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may ask for, and how far it may fall behind."""

    message_bytes: int = 64 * 1024
    messages_per_s: int = 200
    subscriptions: int = 64
    windows: int = 1_000
    """Most windows a subscription may show."""
    default_windows: int = 60
    rolling_windows: int = 60
    write_buffer_bytes: int = 256 * 1024
    """Above this a client is slow: it gets the latest of each row when it has read, not every change."""
    slow_s: float = 10.0
    """A client that stays slow for this long is closed with 4429."""
    auth_s: float = 5.0
    """Time to send `auth`, else 4408."""
    ping_after_s: float = 20.0
    """A client silent for this long is pinged; silent for twice as long it is closed with 4408."""
    close_s: float = 3.0
    """Time to answer a close frame before the connection is cut."""
    heartbeat_s: float = 5.0


class GatewaySettings(ServiceSettings):
    host: str = Field(default="0.0.0.0", description="Address the gateway listens on")  # noqa: S104
    port: int = Field(default=8081, ge=0, le=65535, description="Port the gateway listens on; 0 takes a free one")
    allowed_origins: str = Field(
        default="http://localhost:*,http://127.0.0.1:*",
        description="Origins browsers may connect from, separated by commas; `:*` is any port. "
        "The gateway's own origin and clients that send none are always allowed",
        examples=["https://dashboard.example.com"],
    )
    max_clients: int = Field(default=2_000, ge=1, description="Connections at once; more are closed with 4429")
    max_channels: int = Field(default=1_000, ge=1, description="Different channels at once")
    max_subscriptions: int = Field(default=64, ge=1, description="Subscriptions of one connection")
    max_message_bytes: int = Field(default=64 * 1024, ge=1024, description="Longest message a client may send")
    conflate_ms: int = Field(default=20, ge=0, description="Shortest time between two deltas of a channel")
    heartbeat_s: float = Field(default=5, gt=0, description="A channel silent for this long sends a heartbeat")
    slow_client_s: float = Field(default=10, gt=0, description="A client that does not read for this long is closed")

    @property
    def limits(self) -> Limits:
        return Limits(
            message_bytes=self.max_message_bytes,
            subscriptions=self.max_subscriptions,
            slow_s=self.slow_client_s,
            heartbeat_s=self.heartbeat_s,
        )

    @property
    def origins(self) -> tuple[str, ...]:
        return tuple(o.strip() for o in self.allowed_origins.split(",") if o.strip())
