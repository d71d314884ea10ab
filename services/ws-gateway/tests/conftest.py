"""What tests share: a store, and a writer for each of its partitions."""

import pytest

from dataforge.state.memory import MemoryState
from dataforge.testing.kpis import KpiWriter, open_writers

from talking import DOMAIN


@pytest.fixture
def state() -> MemoryState:
    return MemoryState()


@pytest.fixture
async def writers(state: MemoryState) -> list[KpiWriter]:
    return await open_writers(state, DOMAIN)
