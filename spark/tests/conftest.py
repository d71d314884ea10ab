"""One Spark for the whole run, over a real S3 store and a catalog of its own."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from pyspark.sql import SparkSession

from dataforge.contracts.model import Domain

from devstack.embedded import EmbeddedServers
from devstack.lake.jobs import jars
from devstack.model import Endpoints
from keeping import ANY_AGE, Kept
from lake import session
from lake.settings import LakeSettings
from orders import SMALL, orders_domain
from worlds import World

settings.register_profile(
    "lake",
    deadline=None,
    max_examples=10,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    print_blob=True,
)
settings.load_profile("lake")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """A real S3 store and a real Valkey."""
    with EmbeddedServers(tmp_path_factory.mktemp("servers"), ["s3proxy", "valkey"]) as running:
        yield running.endpoints


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedServers(tmp_path_factory.mktemp("kafka"), ["kafka"]) as running:
        yield running.endpoints.kafka


@pytest.fixture(scope="session")
def environment(servers: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a process of the lake reads, but for its domains."""
    return {
        **servers.service_env([]),
        "AWS_EC2_METADATA_DISABLED": "true",
        "DATAFORGE_LAKE_CATALOG": str(tmp_path_factory.mktemp("lake") / "catalog.db"),
        "DATAFORGE_LAKE_JARS": jars(),
        "DATAFORGE_LAKE_MASTER": "local[2]",
        "DATAFORGE_LAKE_MEMORY": "1g",
        # Nothing here runs long enough for the better code to pay; but there is much of it, and all has to find room.
        "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m",
    }


@pytest.fixture(scope="session")
def lake_settings(environment: dict[str, str]) -> Iterator[LakeSettings]:
    """Those of this process: Spark and its workers read the keys of the store where they look for them."""
    before = os.environ.copy()
    os.environ.update(environment)
    yield LakeSettings()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def spark(lake_settings: LakeSettings) -> Iterator[SparkSession]:
    running = session.build(lake_settings)
    yield running
    running.stop()


@pytest.fixture
def domain(tmp_path: Path) -> Domain:
    """A domain that no other test has tables of, with a metric of every kind."""
    return orders_domain(tmp_path / f"orders_{uuid4().hex[:8]}")


@pytest.fixture
def small_domain(tmp_path: Path) -> Domain:
    """As `domain`, with few metrics."""
    return orders_domain(tmp_path / f"orders_{uuid4().hex[:8]}", SMALL)


@pytest.fixture
def world(spark: SparkSession, lake_settings: LakeSettings, small_domain: Domain) -> World:
    return World(spark, lake_settings, small_domain)


@pytest.fixture
def kept(spark: SparkSession, lake_settings: LakeSettings, small_domain: Domain) -> Kept:
    return Kept(spark, lake_settings, small_domain)


@pytest.fixture
def any_age(spark: SparkSession) -> Iterator[None]:
    """Iceberg removes no orphan of today, but in a test."""
    for name, value in ANY_AGE.items():
        spark.conf.set(name, value)
    yield
    for name in reversed(ANY_AGE):
        spark.conf.unset(name)


@pytest.fixture
def say() -> Callable[[str], None]:
    return lambda line: None
