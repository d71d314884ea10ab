"""Reads of much history: in pieces, and yet of one instant."""

import pytest

from dataforge.kpi.catalogue import Catalogue
from dataforge.state.memory import MemoryState
from dataforge.state.model import PartitionRead
from dataforge.testing.kpis import KpiWriter, sale, sample_domain

from query_api import reads
from query_api.reads import Reader

T0 = 1_700_000_000_000 // 60_000 * 60_000
WINDOWS = 60
DOMAIN = sample_domain(partitions=1)


class Asked(MemoryState):
    """Between two reads the owner commits once more; it remembers the span of each read with rows."""

    def __init__(self) -> None:
        super().__init__()
        self.writer = KpiWriter(self, DOMAIN, 0)
        self.reads: list[PartitionRead] = []
        self.late = 0

    async def read(
        self, name: str, partition: int, table: str, size_ms: int, start_ms: int, end_ms: int, most: int | None = None
    ) -> PartitionRead:
        found = await super().read(name, partition, table, size_ms, start_ms, end_ms, most)
        if name == DOMAIN.events[0].contract.name:
            self.reads.append(found)
            if self.late:
                self.late -= 1
                await self.writer.write([sale(T0 + 10_000 * (WINDOWS - 1), "late")])
        return found


@pytest.fixture
async def state() -> Asked:
    made = Asked()
    await made.writer.open()
    await made.writer.write([sale(T0 + 10_000 * n, store) for n in range(WINDOWS) for store in "12"])
    return made


@pytest.mark.parametrize(("from_ms", "to_ms"), [(0, 2**53), (T0 + 95_000, T0 + 333_333), (T0 + 590_000, 2**53)])
async def test_what_is_read_in_pieces_is_what_is_there(
    state: Asked, monkeypatch: pytest.MonkeyPatch, from_ms: int, to_ms: int
):
    selection = Catalogue([DOMAIN]).select(metric="revenue", window="10s", by=("store",))
    whole = (await Reader(state).windows(selection, from_ms, to_ms)).partitions
    assert len(state.reads) == 1
    monkeypatch.setattr(reads, "MOST", 17)
    assert (await Reader(state).windows(selection, from_ms, to_ms)).partitions == whole


async def test_rows_and_place_are_of_one_instant_though_commits_come_between(
    state: Asked, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reads, "MOST", 17)
    selection = Catalogue([DOMAIN]).select(metric="sales", window="10s", by=("store",))
    state.late = 1_000
    [read] = (await Reader(state).windows(selection, 0, 2**53)).partitions
    assert len(state.reads) > 3
    assert len(read.windows) == WINDOWS
    newest = read.windows[T0 + 10_000 * (WINDOWS - 1)]
    assert newest == state.reads[-1].windows[T0 + 10_000 * (WINDOWS - 1)]
    assert read.position == state.reads[-1].position
