"""Which partition an event went to, and in which order partitions are merged, changes no number."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge.kpi.columns import HLL_ERROR, KLL_ERROR
from dataforge.kpi.plan import plan
from dataforge.kpi.query import rolling_rows, window_rows
from dataforge.state.memory import MemoryState
from dataforge.state.model import PartitionRead
from dataforge.testing.kpis import KpiWriter, sale, sample_domain

ONE = sample_domain(partitions=1)
PLAN = plan(ONE.events[0])
NAME, LATENESS_MS = ONE.events[0].contract.name, ONE.events[0].lateness_ms
EXACT = [(metric, by) for metric, by in PLAN.views if metric in ("revenue", "sales", "largest", "price")]
SKETCHED = ("customers", "amounts", "top_stores")

events = st.builds(
    sale,
    st.integers(0, 119_999),
    st.sampled_from(["1", "2", "3"]),
    st.sampled_from("abcdef"),
    st.integers(0, 2**40),
    st.integers(0, 9),
)


async def stored(spread: list[list[dict[str, Any]]], commit: int = 3) -> MemoryState:
    """A state whose partitions' events came in commits of up to `commit`."""
    state, domain = MemoryState(), sample_domain(partitions=len(spread))
    for partition, found in enumerate(spread):
        writer = KpiWriter(state, domain, partition)
        await writer.open()
        for at in range(0, len(found), commit):
            await writer.write(found[at : at + commit])
    return state


async def reads_of(state: MemoryState, order: Sequence[int], table: str, size_ms: int) -> list[PartitionRead]:
    return [await state.read(NAME, partition, table, size_ms, 0, 2**53) for partition in order]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 2), events), max_size=25), st.permutations(range(3)), st.sampled_from(EXACT))
async def test_exact_measures_are_the_same_bits_however_events_are_spread(
    routed: list[tuple[int, dict[str, Any]]], order: list[int], which: tuple[str, tuple[str, ...]]
) -> None:
    view = PLAN.views[which]
    spread = [[event for to, event in routed if to == partition] for partition in range(3)]
    three, one = await stored(spread), await stored([[event for _, event in routed]])

    async def both(size_ms: int) -> list[list[PartitionRead]]:
        table = view.table.id
        return [await reads_of(three, order, table, size_ms), await reads_of(one, [0], table, size_ms)]

    for size_ms in view.table.windows_ms:
        found = [window_rows(view, size_ms, reads, LATENESS_MS) for reads in await both(size_ms)]
        apart, together = ([(r.start_ms, r.labels, r.value, r.revision) for r in rows] for rows in found)
        assert apart == together
    for rolling in view.metric.rolling:
        found = [rolling_rows(view, rolling, reads, 60_000, LATENESS_MS) for reads in await both(rolling.every_ms)]
        apart, together = ([(r.labels, r.value, r.revision) for r in rows] for rows in found)
        assert apart == together


@settings(max_examples=5)
@given(st.permutations(range(3)), st.randoms(use_true_random=False))
async def test_sketches_are_within_their_stated_error_however_events_are_spread(order: list[int], random: Any) -> None:
    many = 1_000
    routed = [(random.randrange(3), sale(1_000, str(n * n % 7), f"customer {n}", cents=n * 100)) for n in range(many)]
    spread = [[event for to, event in routed if to == partition] for partition in range(3)]
    values, state = {}, await stored(spread, commit=100)
    for metric in SKETCHED:
        view = PLAN.view(metric)
        reads = await reads_of(state, order, view.table.id, 60_000)
        [row] = window_rows(view, 60_000, reads, LATENESS_MS)
        values[metric] = row.value
    assert abs(values["customers"] - many) <= HLL_ERROR * many
    assert abs(values["amounts"]["p50"] - many / 2) <= KLL_ERROR * many
    assert abs(values["amounts"]["p95"] - many * 0.95) <= KLL_ERROR * many
    counts = {str(s): sum(event["store"] == str(s) for _, event in routed) for s in range(7)}
    for item in values["top_stores"]:
        assert item["lower"] <= counts[item["item"]] <= item["upper"]
