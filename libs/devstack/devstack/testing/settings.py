"""The environment the fixture layer reads. No other module of it looks there.

| variable | meaning |
|---|---|
| DATAFORGE_TEST_BACKEND | `embedded` (default); `docker`; `auto`: containers where engine and images are there |
| REQUIRE_DOCKER | 1: containers or failure, never the embedded stack instead |
| DATAFORGE_TEST_KAFKA_IMAGE | an image laid out like apache/kafka: `/opt/kafka/bin/kafka-*.sh` |
| DATAFORGE_TEST_REDIS_IMAGE | an image that takes a Redis or Valkey server's options as its command |
| DATAFORGE_TEST_S3_IMAGE | an image that takes S3Proxy's environment variables |
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

BackendName = Literal["embedded", "docker", "auto"]


@dataclass(frozen=True, slots=True)
class Images:
    """One image per kind of server."""

    kafka: str = "apache/kafka:4.1.0"
    valkey: str = "valkey/valkey:8"
    s3proxy: str = "andrewgaul/s3proxy:4.1.0"

    def all(self) -> tuple[str, ...]:
        return self.kafka, self.valkey, self.s3proxy


@dataclass(frozen=True, slots=True)
class BackendSettings:
    backend: BackendName = "embedded"
    docker_required: bool = False
    docker_host: str = ""
    """Address of the engine where it is not the local socket."""
    images: Images = Images()


def read(env: Mapping[str, str] = os.environ) -> BackendSettings:
    """*Raises* `ValueError` that names the variable."""
    required = env.get("REQUIRE_DOCKER", "") not in ("", "0")
    name = _backend(env.get("DATAFORGE_TEST_BACKEND") or ("docker" if required else "embedded"))
    if required and name == "embedded":
        raise ValueError("REQUIRE_DOCKER=1 and DATAFORGE_TEST_BACKEND=embedded contradict each other")
    default = Images()
    return BackendSettings(
        backend=name,
        docker_required=required,
        docker_host=env.get("DOCKER_HOST", ""),
        images=Images(
            kafka=env.get("DATAFORGE_TEST_KAFKA_IMAGE") or default.kafka,
            valkey=env.get("DATAFORGE_TEST_REDIS_IMAGE") or default.valkey,
            s3proxy=env.get("DATAFORGE_TEST_S3_IMAGE") or default.s3proxy,
        ),
    )


def _backend(name: str) -> BackendName:
    for known in get_args(BackendName):
        if name == known:
            return known
    raise ValueError(f"DATAFORGE_TEST_BACKEND is {name!r}; it must be one of {', '.join(get_args(BackendName))}")
