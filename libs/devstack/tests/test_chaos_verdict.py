"""The oracle of a chaos run must be able to fail: at each stage a lost, doubled or changed record is found."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import duckdb
import msgspec
import pyarrow as pa
import pytest
from retail_log import RetailLog, decided, retail_log

from devstack.chaos.report import Hit, Report, assess, with_verdict
from devstack.chaos.verdict import Collected, Verdict, in_words, stage_losses
from devstack.chaos.witnesses import copied
from devstack.oracle.api import instant
from devstack.oracle.compare import Comparison
from devstack.oracle.landed import LANDED
from devstack.oracle.log import JUDGED, QUARANTINED, Accepted
from devstack.oracle.losses import Losses, sent
from devstack.oracle.outcomes import Database, load
from devstack.oracle.screens import Shown, View, compare_screen
from devstack.oracle.state import LEDGER
from devstack.oracle.windows import expect_windows

VIEW = View("revenue", "store", "10s", 20)
STAGES = ("landing_raw", "landing_judged", "judge", "quarantine", "aggregator")
TABLES = {
    "landing_raw": "landed_raw",
    "landing_judged": "landed_judged",
    "judge": "judged",
    "quarantine": "quarantine",
}


@pytest.fixture(scope="module")
def log() -> RetailLog:
    return retail_log(2_000)


@pytest.fixture(scope="module")
def db(log: RetailLog) -> Iterator[Database]:
    with duckdb.connect() as connection:
        decided(log, connection)
        expect_windows(connection, [])
        yield connection


def table(db: Database, schema: pa.Schema, query: str) -> pa.Table:
    return db.execute(query).to_arrow_table().cast(schema)


@pytest.fixture(scope="module")
def perfect(db: Database, log: RetailLog) -> Collected:
    """What a faultless platform leaves behind."""
    raw = log.raw()
    landed = raw.select(LANDED.names).cast(LANDED)
    return Collected(
        sent=log.manifest.table(),
        raw=raw,
        judged_log=raw,
        judged=table(db, JUDGED, 'SELECT partition, "offset" AS src, ts, crc, verdict, reason FROM expected'),
        quarantine=table(
            db, QUARANTINED, """SELECT partition, "offset" AS src, crc FROM expected WHERE verdict != 'valid'"""
        ),
        landed_raw=landed,
        landed_judged=landed,
        ledger=table(
            db,
            LEDGER,
            """SELECT partition, ts - ts % 60000 AS minute_ms, coalesce(outcome, verdict) AS outcome,
                      if(verdict = 'valid', '', reason) AS reason, count(*) AS records
               FROM expected GROUP BY ALL""",
        ),
        screens=[],
    )


def changed(collected: Collected, stage: str, change: Callable[[pa.Table], pa.Table]) -> Collected:
    name = TABLES[stage]
    return replace(collected, **{name: change(getattr(collected, name))})


def test_a_faultless_platform_has_lost_nothing(db: Database, perfect: Collected) -> None:
    assert perfect.judged.num_rows > 2_000
    assert stage_losses(db, perfect) == dict.fromkeys(("log", *STAGES), Losses())


@pytest.mark.parametrize("stage", TABLES)
def test_a_lost_record_is_found(db: Database, perfect: Collected, stage: str) -> None:
    found = stage_losses(db, changed(perfect, stage, lambda rows: rows.slice(1)))
    assert {s for s, one in found.items() if not one.none} == {stage}
    assert found[stage] == Losses(lost=1)


@pytest.mark.parametrize("stage", [s for s in TABLES if s != "quarantine"])
def test_a_doubled_record_is_found(db: Database, perfect: Collected, stage: str) -> None:
    found = stage_losses(db, changed(perfect, stage, lambda rows: pa.concat_tables([rows, rows.slice(7, 2)])))
    assert found[stage] == Losses(doubled=2)


def test_a_repeated_quarantine_copy_is_allowed_and_an_invented_one_is_not(db: Database, perfect: Collected) -> None:
    again = changed(perfect, "quarantine", lambda rows: pa.concat_tables([rows, rows.slice(0, 3)]))
    assert stage_losses(db, again)["quarantine"] == Losses()
    valid = perfect.judged.slice(perfect.judged["verdict"].to_pylist().index("valid"), 1)
    invented = valid.select(QUARANTINED.names).cast(QUARANTINED)
    more = changed(perfect, "quarantine", lambda rows: pa.concat_tables([rows, invented]))
    assert stage_losses(db, more)["quarantine"] == Losses(doubled=1)


@pytest.mark.parametrize(
    ("stage", "column"), [*((stage, "crc") for stage in TABLES), ("landing_raw", "rest"), ("landing_judged", "rest")]
)
def test_other_bytes_are_found(db: Database, perfect: Collected, stage: str, column: str) -> None:
    def tampered(rows: pa.Table) -> pa.Table:
        at = rows.schema.names.index(column)
        crc = [rows[column][0].as_py() + 1, *rows[column].to_pylist()[1:]]
        return rows.set_column(at, column, pa.array(crc, pa.int64()))

    assert stage_losses(db, changed(perfect, stage, tampered))[stage] == Losses(wrong=1)


@pytest.mark.parametrize(("by", "expected"), [(-1, Losses(lost=1)), (1, Losses(doubled=1))])
def test_a_count_that_is_one_off_is_found(db: Database, perfect: Collected, by: int, expected: Losses) -> None:
    counts = perfect.ledger["records"].to_pylist()
    ledger = perfect.ledger.set_column(4, "records", pa.array([counts[0] + by, *counts[1:]], pa.int64()))
    assert stage_losses(db, replace(perfect, ledger=ledger))["aggregator"] == expected


def test_a_record_that_was_sent_and_never_received_is_lost(log: RetailLog, perfect: Collected) -> None:
    in_zero = [i for i, partition in enumerate(perfect.raw["partition"].to_pylist()) if partition == 0]
    kept = perfect.raw.take([i for i in range(perfect.raw.num_rows) if i != in_zero[-1]])
    with duckdb.connect() as db:
        load(db, kept, perfect.sent)
        assert sent(db) == Losses(lost=1)


def rows_of(db: Database) -> list[dict[str, object]]:
    found = db.execute(
        """SELECT start_ms, label, top FROM want WHERE metric = 'revenue' AND "by" = 'store' AND "window" = '10s'
           AND start_ms > (SELECT max(start_ms) FROM want WHERE "window" = '10s') - 200000"""
    ).fetchall()
    return [{"start": instant(at), "labels": {"store": label}, "value": top / 100} for at, label, top in found]


def test_a_screen_is_compared_with_the_newest_windows(db: Database) -> None:
    rows = rows_of(db)
    assert len(rows) > 10
    assert compare_screen(db, VIEW, rows) == Shown(len(rows), 0, [])
    assert compare_screen(db, VIEW, rows[1:]).wrong == 1
    assert compare_screen(db, VIEW, [{**rows[0], "value": 0.01}, *rows[1:]]).wrong == 1
    old = {**rows[0], "start": instant(0)}
    assert compare_screen(db, VIEW, [*rows, old]).wrong == 1
    assert compare_screen(db, VIEW, []).wrong == len(rows)


def test_quarantine_is_as_far_as_its_first_missing_copy() -> None:
    accepted = Accepted()
    accepted.next, accepted.rejected = {0: 100, 1: 50, 2: 7}, {0: [10, 20, 90], 1: [3]}
    assert copied(accepted, {0: 20}) == {0: 90, 1: 3, 2: 7}
    assert copied(accepted, {0: 90, 1: 3}) == {0: 100, 1: 50, 2: 7}


EQUAL = Comparison(compared=10, equal=10, different=0, missing=0, extra=0, by_metric={"revenue": 10})
HIT = Hit(
    number=1, kind="kill", victim="kafka", at_s=5, in_force_s=0, overlaps=False, stages={"judge": 2.0, "api": 9.5}
)


def report(verdict: Verdict, *hits: Hit) -> Report:
    empty = Report(
        seed=7, faults={"kill": len(hits)}, recovery_s=list(hits), recovery_max_s=None, minutes=1, events=100,
    )  # fmt: skip
    return with_verdict(empty, verdict)


def verdict(comparison: Comparison = EQUAL, **losses: Losses) -> Verdict:
    screens = [Shown(3, 0, [])]
    found = {stage: losses.get(stage, Losses()) for stage in STAGES}
    return Verdict(found, comparison, screens, {"counted": 100}, in_words(found, comparison, screens))


def test_all_well_is_a_pass() -> None:
    passed = assess(report(verdict(), HIT), wanted=1, max_recovery_s=15)
    assert passed.passed
    assert passed.problems == []
    assert passed.recovery_max_s == 9.5


def test_losses_and_doubles_and_windows_are_added_up_and_named() -> None:
    wrong = Comparison(compared=10, equal=6, different=2, missing=1, extra=1, by_metric={})
    found = verdict(wrong, judge=Losses(lost=2), aggregator=Losses(lost=1, doubled=4))
    failed = assess(report(found, HIT), wanted=1, max_recovery_s=15)
    assert not failed.passed
    assert (failed.lost, failed.double_counted, failed.wrong_windows) == (3, 4, 4)
    assert failed.by_stage["aggregator"] == {"lost": 1, "doubled": 4, "wrong": 0}
    assert len(failed.problems) == 3


@pytest.mark.parametrize(
    ("hits", "words"),
    [
        ((), "0 of 1 faults"),
        ((msgspec.structs.replace(HIT, stages={"judge": 16.0}),), "judge 16.0 s"),
        ((msgspec.structs.replace(HIT, stages={"judge": None}),), "judge never"),
    ],
)
def test_too_few_faults_and_slow_recoveries_are_problems(hits: tuple[Hit, ...], words: str) -> None:
    failed = assess(report(verdict(), *hits), wanted=1, max_recovery_s=15)
    assert not failed.passed
    assert len(failed.problems) == 1
    assert words in failed.problems[0]


def test_nothing_compared_is_no_pass() -> None:
    nothing = Comparison(compared=0, equal=0, different=0, missing=0, extra=0, by_metric={})
    assert not assess(report(verdict(nothing), HIT), wanted=1, max_recovery_s=15).passed


def test_what_was_not_compared_is_not_called_zero() -> None:
    nothing = Report(seed=7, faults={"kill": 1}, recovery_s=[HIT], recovery_max_s=None, minutes=1, events=100)
    assert nothing.lost is None
    assert not assess(nothing, wanted=1, max_recovery_s=15).passed
