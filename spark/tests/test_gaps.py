"""What backfill compares, what compaction and expiry choose: pure."""

import asyncio
from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import Row

from dataforge.errors import Fatal
from dataforge.storage.chain import Chain
from dataforge.storage.memory import MemoryStore

from devstack.lake.steps import Step, step
from lake.gaps.compare import NOTHING, Part, differing, portions
from lake.jobs.compact import Due, clause, too_many, worth_it
from lake.jobs.expire import oldest_kept
from lake.jobs.orphans import demand_own
from lake.ledger import accepting, counted, first_that, joined
from lake.position import Snapshot
from lake.progress import Progress
from lake.when import DAY_MS, HOUR_MS, day_of, during, midnight_ms
from orders import START, Sent, drawn, judged, land, land_raw, parts

PARTS = st.dictionaries(st.integers(0, 9), st.builds(Part, st.integers(1, 9), st.integers(1, 9)))


@given(PARTS, PARTS)
def test_a_part_differs_where_rows_or_their_check_do(due: dict[int, Part], held: dict[int, Part]):
    found = differing(due, held)
    assert list(found) == sorted(found)
    for part in due.keys() | held.keys():
        has, must = held.get(part, NOTHING), due.get(part, NOTHING)
        assert (part in found) == (has != must)
        assert found.get(part, (has.rows, must.rows)) == (has.rows, must.rows)


@given(st.dictionaries(st.integers(0, 99), st.tuples(st.integers(0, 9), st.integers(0, 9))), st.integers(1, 20))
def test_portions_are_all_parts_in_order_and_none_too_large(rows: dict[int, tuple[int, int]], most: int):
    found = list(portions(rows, most))
    assert [part for some in found for part in some] == list(rows)
    assert all(len(some) == 1 or sum(rows[part][1] for part in some) <= most for some in found)
    assert all(found)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5)).map(lambda pair: (pair[0], sum(pair)))))
def test_ranges_that_touch_are_one(ranges: list[tuple[int, int]]):
    found = joined(ranges)
    assert {n for one in found for n in range(*one)} == {n for one in ranges for n in range(*one)}
    assert all(one[1] < following[0] for one, following in pairwise(found))


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_first_that_holds_is_found(count: int, first: int):
    async def holds(at: int) -> bool:
        return at >= first

    assert asyncio.run(first_that(count, holds)) == min(first, count)


def test_days_begin_where_utcs_do():
    assert day_of(midnight_ms(date(2026, 1, 6)) - 1) == date(2026, 1, 5)
    assert midnight_ms(date(1970, 1, 2)) == DAY_MS
    assert during("ts", 0, HOUR_MS) == (
        "(ts >= TIMESTAMP'1970-01-01T00:00:00+00:00' AND ts < TIMESTAMP'1970-01-01T01:00:00+00:00')"
    )


async def landed(sent: list[Sent], size: int) -> MemoryStore:
    store = MemoryStore()
    await land_raw(store, "raw.t", 0, sent, size)
    await land(store, "judged.t", 0, judged(sent, zombie=True), size)
    return store


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 200))
def test_the_ledger_counts_every_raw_record_below_a_place_by_its_hour(count: int, size: int, below: int):
    sent = parts(drawn(count, count))[0]
    if not sent:
        return
    store = asyncio.run(landed(sent, size))
    found = asyncio.run(counted(Chain(store, "raw.t", 0), 0, below))
    hours: dict[int, int] = {}
    for one in found:
        for hour, records in one.hours.items():
            hours[hour] = hours.get(hour, 0) + records
    expected: dict[int, int] = {}
    for one in sent:
        if one.offset < below:
            hour = one.ts_ms - one.ts_ms % HOUR_MS
            expected[hour] = expected.get(hour, 0) + 1
    assert {hour: records for hour, records in hours.items() if records} == expected


def test_the_ledger_looks_no_further_back_than_it_must():
    sent = parts(drawn(3, 300))[0]
    store = asyncio.run(landed(sent, 10))
    since = midnight_ms(day_of(START)) + DAY_MS
    found = asyncio.run(counted(Chain(store, "raw.t", 0), since, 10**9))
    before = [one for one in sent if one.offset < found[0].first]
    assert before
    assert all(one.ts_ms < since for one in before)
    assert sum(sum(one.hours.values()) for one in found) == len(sent) - len(before)


@given(st.integers(1, 60), st.integers(1, 9), st.data())
def test_raw_offsets_are_found_in_the_objects_that_accepted_them(count: int, size: int, data: st.DataObject):
    sent = parts(drawn(count, count))[0]
    if not sent:
        return
    store = asyncio.run(landed(sent, size))
    start = data.draw(st.integers(0, sent[-1].offset))
    end = data.draw(st.integers(start + 1, sent[-1].offset + 1))
    refolds = asyncio.run(accepting(Chain(store, "judged.t", 0), [(start, end)]))
    for refold in refolds:
        spans = [refold.following, *(one.footer.accepted_next or 0 for one in refold.landed)]
        assert spans[0] <= start or refold is not refolds[0]
        assert spans[-2] < end, "an object more than needed"
        assert spans[1] > start, "an object more than needed"
    assert max(one.footer.accepted_next or 0 for one in refolds[-1].landed) >= end


def test_a_raw_chain_with_a_hole_is_refused():
    sent = parts(drawn(4, 60))[0]
    store = asyncio.run(landed(sent, 5))
    del store.objects[sorted(key for key in store.objects if key.startswith("landing/raw.t/"))[1]]
    with pytest.raises(Fatal, match="an object is due at"):
        asyncio.run(counted(Chain(store, "raw.t", 0), 0, 10**9))


def test_a_partition_is_named_by_its_columns():
    assert clause({"ts_day": date(2026, 1, 5), "partition": 3}) == (
        "ts >= TIMESTAMP'2026-01-05' AND ts < TIMESTAMP'2026-01-06' AND `partition` = 3"
    )
    assert clause({"day": date(2026, 1, 5)}) == "day = DATE'2026-01-05'"


def test_one_small_file_is_left_alone_and_deletes_never_are():
    rows = [
        Row(partition=Row(day=date(2026, 1, day)), small=small, deletes=deletes)
        for day, small, deletes in ((9, 2, 0), (1, 1, 0), (2, 0, 1), (3, 0, 0))
    ]
    assert worth_it(rows) == [Due("day = DATE'2026-01-02'", True), Due("day = DATE'2026-01-09'", False)]


def test_manifests_are_rewritten_where_they_are_many_and_small():
    assert not too_many([])
    assert not too_many([1, 1])
    assert too_many([1, 1, 1])
    assert not too_many([8 * 2**20] * 20)


def line(*snapshots: tuple[bool, int]) -> list[Snapshot]:
    """From the current one back: (says a position, when)."""
    return [Snapshot(n, "{}" if said else None, 0, 0, at) for n, (said, at) in enumerate(snapshots)]


def test_the_newest_snapshot_that_says_the_position_is_kept_and_all_after_it():
    assert oldest_kept(line((True, 90), (True, 50)), 60) == 60
    assert oldest_kept(line((False, 90), (False, 80), (True, 50), (True, 10)), 85) == 50
    assert oldest_kept(line((False, 90), (False, 40), (True, 50)), 85) == 40, "a clock that was behind"
    assert oldest_kept(line((False, 90)), 85) is None
    assert oldest_kept([], 85) is None


@pytest.mark.parametrize("warehouse", ["s3://b/lake", "s3://b"])
def test_files_are_removed_in_a_tables_own_folder_only(warehouse: str):
    demand_own(f"{warehouse}/shop/bronze_order_v1", warehouse, "b")
    for elsewhere in ("s3://b", "s3://c/lake/t", "s3://b/lakeside/t", "s3://b/landing/raw.t", "s3://b/landing"):
        if not elsewhere.startswith(f"{warehouse}/") or "landing" in elsewhere or elsewhere == "s3://b":
            with pytest.raises(Fatal, match="never of s3://b/landing/"):
                demand_own(elsewhere, warehouse, "b")


def test_steps_are_read_as_they_are_written(capsys: pytest.CaptureFixture[str]):
    progress = Progress(asked=True)
    progress.begin("backfill", "shop.order.v1")
    progress.tell("silver", 1, 3)
    said = [step(line) for line in capsys.readouterr().err.splitlines()]
    assert said == [
        Step("backfill", "shop.order.v1", "", 0, 0),
        Step("backfill", "shop.order.v1", "silver", 1, 3),
    ]
    assert step("25/11/28 WARN something") is None
    assert step('{"a": 1}') is None
    Progress().tell("silver", 1, 3)
    assert capsys.readouterr().err == ""
