"""Pytest plugin: real servers for tests, behind the same fixtures whether processes or containers.

    async def test_x(kafka: str, redis_url: str, s3: S3Access, fresh: Fresh): ...

A server starts when the first test asks for it and serves the whole run, so a test takes fresh names for its
topics, groups and keys. `endpoints` has them all, and makes the environment of a service.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import pytest

from devstack.model import SERVERS, Endpoints
from devstack.testing import settings as settings_of
from devstack.testing.choose import Choice, NoDocker, choose, docker_problem

if TYPE_CHECKING:
    from devstack.testing.containers import Containers

Fresh = Callable[[str], str]
StartServer = Callable[[str], Endpoints]
"""Endpoints of one server by its name; the others' are empty. Starts it at the first call."""

_CHOICE = pytest.StashKey[Choice]()


@dataclass(frozen=True, slots=True)
class S3Access:
    """An object store, the bucket to use in it, and the keys."""

    endpoint: str
    bucket: str
    region: str
    access_key: str
    secret_key: str


def pytest_configure(config: pytest.Config) -> None:
    try:
        config.stash[_CHOICE] = choose(settings_of.read(), docker_problem)
    except (ValueError, NoDocker) as error:
        raise pytest.UsageError(str(error)) from error


def pytest_report_header(config: pytest.Config) -> str:
    return f"servers: {config.stash[_CHOICE].line}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On the embedded stack, tests of container images are left out: they are not tests of this run."""
    if config.stash[_CHOICE].docker:
        return
    left_out = [item for item in items if "containers" in getattr(item, "fixturenames", ())]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def containers(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Containers]":
    """The servers' containers and their network, for tests of service images; only where containers serve."""
    from devstack.testing.containers import Containers  # testcontainers costs 0.5 s to import

    with Containers(settings_of.read().images, tmp_path_factory.mktemp("containers")) as running:
        yield running


@pytest.fixture(scope="session")
def start_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    if request.config.stash[_CHOICE].docker:
        yield cache(request.getfixturevalue("containers").start)
        return
    with ExitStack() as running:

        def start(server: str) -> Endpoints:
            return _embedded(server, tmp_path_factory.mktemp(server), running)

        yield cache(start)


def _embedded(server: str, folder: Path, running: ExitStack) -> Endpoints:
    from devstack.embedded import EmbeddedServers

    return running.enter_context(EmbeddedServers(folder, [server])).endpoints


@pytest.fixture(scope="session")
def kafka(start_server: StartServer) -> str:
    """Bootstrap servers of a real Kafka: LogAppendTime, no topic made by accident."""
    return start_server("kafka").kafka


@pytest.fixture(scope="session")
def redis_url(start_server: StartServer) -> str:
    """A real Valkey or Redis that never evicts."""
    return start_server("valkey").redis_url


@pytest.fixture(scope="session")
def cache_url(start_server: StartServer) -> str:
    """A real Valkey or Redis that evicts, for what can be made again."""
    return start_server("valkey-cache").cache_url


@pytest.fixture(scope="session")
def s3(start_server: StartServer) -> S3Access:
    """A real object store that honours If-None-Match; the bucket exists."""
    reach = start_server("s3proxy")
    return S3Access(reach.s3_endpoint, reach.s3_bucket, reach.s3_region, reach.s3_access_key, reach.s3_secret_key)


@pytest.fixture(scope="session")
def endpoints(start_server: StartServer) -> Endpoints:
    """All servers: `endpoints.service_env(domains)` is what a service started by hand needs."""
    merged: dict[str, object] = {}
    for server in SERVERS:
        merged |= {name: value for name, value in msgspec.structs.asdict(start_server(server)).items() if value}
    return msgspec.convert(merged, Endpoints)


@pytest.fixture
def fresh() -> Fresh:
    """`fresh("orders")`: a name nobody has used, for a topic, a group or a key prefix."""
    return lambda stem: f"{stem}-{uuid4().hex}"
