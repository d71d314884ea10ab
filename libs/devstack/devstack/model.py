"""What should run, and what does: the two files a stack is steered and observed by."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from devstack.processes import ProcessId

Phase = Literal["starting", "ready", "degraded", "stopping", "stopped", "failed"]
ProgramState = Literal["starting", "ready", "backoff", "held", "stopped"]
SERVERS = ("kafka", "valkey", "valkey-cache", "s3proxy")


class ServiceSpec(msgspec.Struct, frozen=True):
    """One of our services, or a stand-in for it in a test."""

    name: str
    module: str
    """Run as `python -m <module>`."""
    port: int = 0
    """Preferred port it serves users on; 0: it serves nobody."""
    admin_port: int = 0
    instances: int = 1
    arguments: tuple[str, ...] = ()
    environment: Literal["product", "lake"] = "product"
    """Whose interpreter and packages it runs with."""


SERVICES = (
    ServiceSpec("landing-worker", "landing_worker", admin_port=19101),
    ServiceSpec("quality-worker", "quality_worker", admin_port=19102),
    ServiceSpec("aggregator", "aggregator", admin_port=19103),
    ServiceSpec("query-api", "query_api", port=18080, admin_port=19104),
    ServiceSpec("ws-gateway", "ws_gateway", port=18081, admin_port=19105),
)

LAKE = ServiceSpec("lake", "lake", admin_port=19106, arguments=("stream",), environment="lake")
OPTIONAL = (LAKE,)
"""Run where they are asked for."""


class Wanted(msgspec.Struct, frozen=True):
    """What the supervisor should run. `revision` grows with every change; the state says which one is applied."""

    revision: int
    domains: tuple[str, ...] = ()
    domain_content: int = 0
    """Of the files in these folders, so that an edited domain is a change."""
    servers: tuple[str, ...] = SERVERS
    services: tuple[ServiceSpec, ...] = SERVICES
    env: dict[str, str] = {}
    """Further environment of every service."""
    usual_ports: bool = True
    """Try the well-known ports first; tests do without, to leave them to the user's own stack."""
    kafka_proxy: str = ""
    """Address of a proxy before Kafka: the broker gets a second listener that tells its clients to come back there."""


class Endpoints(msgspec.Struct, frozen=True):
    """Where a stack's parts answer, and the keys to them. Empty where the part does not run."""

    kafka: str = ""
    redis_url: str = ""
    cache_url: str = ""
    s3_endpoint: str = ""
    s3_bucket: str = ""
    s3_region: str = ""
    s3_access_key: str = ""
    s3_secret_key: str = ""
    api_url: str = ""
    ws_url: str = ""
    api_token: str = ""
    analyst_token: str = ""
    admin_urls: dict[str, str] = {}
    """Instance name -> base address of /healthz, /readyz and /metrics."""

    def service_env(self, domains: Sequence[str]) -> dict[str, str]:
        """The environment every service reads; also what a test or a shell needs to talk to the stack.

        What the stack does not run is not named: there the caller's own setting holds.
        """
        named = {
            "DATAFORGE_KAFKA": self.kafka,
            "DATAFORGE_REDIS_URL": self.redis_url,
            "DATAFORGE_CACHE_URL": self.cache_url,
            "DATAFORGE_S3_ENDPOINT": self.s3_endpoint,
            "DATAFORGE_S3_BUCKET": self.s3_bucket,
            "DATAFORGE_S3_REGION": self.s3_region,
            "AWS_ACCESS_KEY_ID": self.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": self.s3_secret_key,
            "DATAFORGE_API_TOKEN": self.api_token,
            "DATAFORGE_ANALYST_TOKEN": self.analyst_token,
            "DATAFORGE_WS_URL": self.ws_url,
        }
        return {name: value for name, value in named.items() if value} | {"DATAFORGE_DOMAINS": os.pathsep.join(domains)}

    def without_other_accounts(self, env: Mapping[str, str]) -> dict[str, str]:
        """With an object store of the stack's own, nothing of the user's cloud account is handed on: a profile or a
        session token would go before that store's keys.
        """
        if not self.s3_endpoint:
            return dict(env)
        kept = {name: value for name, value in env.items() if not name.startswith("AWS_")}
        return kept | {"AWS_EC2_METADATA_DISABLED": "true"}


class Running(msgspec.Struct):
    """One program of a running stack."""

    name: str
    kind: Literal["server", "service"]
    state: ProgramState
    ports: dict[str, int]
    log: str
    process: ProcessId | None = None
    restarts: int = 0
    detail: str = ""
    """Why it is not ready, where it is not."""

    @property
    def pid(self) -> int:
        """0 where no process runs."""
        return self.process.pid if self.process else 0


class Restart(msgspec.Struct, frozen=True):
    """Something died and came back."""

    name: str
    old_pid: int
    new_pid: int
    reason: str
    count: int
    at: str
    """UTC, ISO 8601."""


class State(msgspec.Struct):
    """What runs. Written whole and atomically after every change; holds keys, so its file is 0600."""

    phase: Phase
    revision: int
    """Of `Wanted`: what this state is the result of."""
    supervisor: ProcessId | None
    endpoints: Endpoints
    domains: tuple[str, ...]
    ports: dict[str, int]
    """Every port this stack has used, kept for its next start."""
    programs: list[Running]
    restarts: list[Restart]
    error: str = ""

    def program(self, name: str) -> Running:
        """*Raises* `KeyError`."""
        for program in self.programs:
            if program.name == name:
                return program
        raise KeyError(name)

    def alive(self) -> bool:
        return self.supervisor is not None and self.supervisor.alive()


def write(path: Path, value: Wanted | State) -> None:
    """*Guarantees*: readers see the old file or the new one, whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(value)))
    draft.replace(path)


def read_wanted(path: Path) -> Wanted | None:
    return msgspec.json.decode(path.read_bytes(), type=Wanted) if path.exists() else None


def read_running(path: Path) -> State | None:
    """The state of a stack that runs; None where none does."""
    state = read_state(path)
    return state if state is not None and state.alive() else None


def read_state(path: Path) -> State | None:
    return msgspec.json.decode(path.read_bytes(), type=State) if path.exists() else None
