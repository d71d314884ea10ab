import os

import pytest


@pytest.fixture(scope="session")
def kafka() -> str:
    """Bootstrap servers of a real Kafka."""
    bootstrap = os.environ.get("DATAFORGE_TEST_KAFKA")
    if not bootstrap:
        pytest.skip("no Kafka: set DATAFORGE_TEST_KAFKA to host:port")
    return bootstrap
