"""Gaps of a lake's tables: each is found and filled, and nothing else is."""

from datetime import date

from pyspark.sql import functions as F

from keeping import Kept, instant
from lake.jobs.backfill import Backfill
from orders import DAY, MIDNIGHT, PARTITIONS, over_days
from worlds import ALL, demand

HOUR_MS = 3_600_000


def test_backfill_finds_what_is_missing_and_nothing_else(kept: Kept):
    sent = over_days(31, 3, 120)
    kept.land_all(sent)
    kept.run()
    before, ever, landed, places = kept.all_rows(), kept.ever(), kept.landed(), kept.positions()
    assert kept.backfill() == {"commits": 0}
    assert kept.ever() == ever, "something was committed where nothing is missing"

    events = kept.spark.table(kept.name("silver")).groupBy(F.to_date("df_time").cast("string").alias("day")).count()
    silver = {row["day"]: row["count"] for row in events.collect()}
    kept.spark.sql(
        f"DELETE FROM {kept.name('silver')} WHERE df_time >= {instant(MIDNIGHT)} "
        f"AND df_time < {instant(MIDNIGHT + 2 * DAY)}"
    )
    hour = (0, MIDNIGHT)
    kept.spark.sql(
        f"DELETE FROM {kept.name('bronze')} WHERE `partition` = 0 AND ts >= {instant(MIDNIGHT)} "
        f"AND ts < {instant(MIDNIGHT + HOUR_MS)}"
    )
    lost = [one for one in sent if (one.partition, one.ts_ms - one.ts_ms % HOUR_MS) == hour]
    assert lost
    assert kept.backfill() == {
        "commits": 2,
        "bronze 0/2026-01-06T00": len(lost),
        "silver 2026-01-06": silver["2026-01-06"],
        "silver 2026-01-07": silver["2026-01-07"],
    }
    assert kept.all_rows() == before
    demand(kept, sent)
    assert kept.positions() == places
    assert kept.landed() == landed
    assert kept.told[-1] == ("gold", 0, 0)
    ever = kept.ever()
    assert kept.backfill() == {"commits": 0}
    assert kept.ever() == ever
    assert kept.run() == (0, 0, 0)


def test_backfill_mends_parts_that_are_incomplete_doubled_or_made_of_what_was_missing(kept: Kept):
    sent = over_days(32, 2, 120)
    kept.land_all(sent)
    kept.run()
    before = kept.all_rows()
    bronze, silver, gold = (kept.name(layer) for layer in ("bronze", "silver", "gold"))
    one = kept.spark.table(silver).orderBy("df_time").tail(1)[0]
    kept.spark.sql(f"DELETE FROM {silver} WHERE df_id = '{one['df_id']}'")
    kept.spark.sql(f"DELETE FROM {gold} WHERE metric = 'turnover' AND size_ms = 10000 AND day = DATE'2026-01-05'")
    first = sent[0]
    row = f"`partition` = {first.partition} AND `offset` = {first.offset}"
    kept.spark.sql(f"INSERT INTO {bronze} SELECT * FROM {bronze} WHERE {row}")
    found = kept.backfill(rows=1)
    assert {name.split()[0] for name in found} == {"commits", "bronze", "silver", "gold"}
    assert found["commits"] == len(found) - 1, "a commit for each part"
    assert kept.all_rows() == before
    assert kept.backfill() == {"commits": 0}


def test_backfill_takes_what_lies_before_its_day_as_it_is(kept: Kept):
    sent = over_days(33, 2, 120)
    kept.land_all(sent)
    kept.run()
    before = kept.all_rows()
    for layer, time_ in (("bronze", "ts"), ("silver", "df_time")):
        for at in (MIDNIGHT, MIDNIGHT + DAY):
            kept.spark.sql(
                f"DELETE FROM {kept.name(layer)} WHERE {time_} >= {instant(at)} AND {time_} < {instant(at + 60_000)}"
            )
    job = Backfill(kept.spark, kept.bucket, ALL, date(2026, 1, 7), kept.said.append, kept.tell)
    found = job.run(kept.event)
    assert {name for name in found if "2026" in name} == {
        "bronze 0/2026-01-07T00", "bronze 1/2026-01-07T00", "silver 2026-01-07"
    }  # fmt: skip
    kept.backfill()
    assert kept.all_rows() == before


def test_a_day_that_gold_has_not_taken_yet_is_no_gap(kept: Kept):
    sent = over_days(34, 1, 160)
    kept.land_all(sent[:80])
    kept.run()
    kept.land_all(sent)
    kept.bronze.run(kept.event, PARTITIONS)
    kept.silver.run(kept.event)
    assert kept.backfill() == {"commits": 0}
    assert kept.gold.run(kept.event) == 1
    demand(kept, sent)
