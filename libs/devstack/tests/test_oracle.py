"""The oracle's SQL against the obvious computation, and a comparison that notices the smallest lie."""

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from retail_log import HORIZONS, RetailLog, decided, retail_log

from devstack.oracle import retail
from devstack.oracle.compare import GOT, Comparison, compare
from devstack.oracle.outcomes import Database, contradictions, decide, load, misjudged
from devstack.oracle.windows import expect_windows, rolling_instants
from devstack.replay.plan import KIND_NAMES, MALFORMED
from devstack.replay.purchases import source

STATED = {"orders": 0.03, "customers": 0.03, "line_value": 0.02}
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def log() -> RetailLog:
    return retail_log(3_000)


@pytest.fixture
def db(log: RetailLog) -> Iterator[Database]:
    with duckdb.connect() as connection:
        decided(log, connection)
        expect_windows(connection, rolling_instants(connection))
        yield connection


def counted(log: RetailLog) -> list[dict[str, Any]]:
    """Events that count, by a loop over what was sent: rules, duplicates and lateness one event at a time."""
    watermark: dict[int, int] = defaultdict(int)
    seen: set[str] = set()
    found: list[dict[str, Any]] = []
    products = duckdb.sql(
        "SELECT product_id, department FROM read_parquet(?)", params=[str(source("products"))]
    ).fetchall()
    departments = dict(products)
    for kind, record in zip(log.plan.kind, log.sent, strict=True):
        if kind >= MALFORMED and KIND_NAMES[kind] != "extra_field":
            continue
        event = json.loads(record.value or b"")
        event["department"] = departments.get(event["product_id"], retail.UNKNOWN)
        if rejected(event) or event["event_id"] in seen:
            continue
        seen.add(event["event_id"])
        event["ms"] = _ms(event["occurred_at"])
        late = event["ms"] + HORIZONS.lateness_ms <= watermark[record.partition]
        watermark[record.partition] = max(watermark[record.partition], event["ms"])
        if not late:
            found.append(event)
    return found


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def rejected(event: dict[str, Any]) -> bool:
    return event["quantity"] == 0


def test_what_counts_is_what_a_plain_loop_counts(log: RetailLog, db: Database) -> None:
    rows = db.execute("""SELECT basket_id, product_id, event_ms FROM expected JOIN item USING (row)
                         WHERE outcome = 'counted'""").fetchall()
    expected = sorted((event["basket_id"], event["product_id"], event["ms"]) for event in counted(log))
    assert len(expected) > 2_000
    assert sorted(rows) == expected


def test_the_injector_and_the_log_agree(db: Database) -> None:
    assert contradictions(db) == []
    assert db.execute("FROM unexplained").fetchall() == []
    kinds = {k for (k,) in db.execute("SELECT DISTINCT kind FROM expected").fetchall()}
    assert kinds == set(KIND_NAMES)


def test_revenue_by_store_and_minute_is_what_a_plain_loop_adds_up(log: RetailLog, db: Database) -> None:
    cents: dict[tuple[int, str], int] = defaultdict(int)
    for event in counted(log):
        cents[(event["ms"] // 60_000 * 60_000, str(event["store_id"]))] += int(Decimal(str(event["sales_value"])) * 100)
    rows = db.execute("""SELECT start_ms, label, top FROM want
                         WHERE metric = 'revenue' AND "by" = 'store' AND "window" = '1m'""").fetchall()
    assert {(start, label): top for start, label, top in rows} == cents


def test_rolling_units_by_department_are_what_a_plain_loop_adds_up(log: RetailLog, db: Database) -> None:
    events, instants = counted(log), rolling_instants(db)
    pieces: dict[tuple[int, str], int] = defaultdict(int)
    for at in instants:
        for event in events:
            if at - 300_000 <= event["ms"] < at:
                pieces[(at - 300_000, event["department"])] += event["quantity"]
    rows = db.execute("""SELECT start_ms, label, top FROM want
                         WHERE metric = 'units' AND "by" = 'department' AND "window" = 'rolling:5m'""").fetchall()
    assert len(instants) >= 2
    assert {(start, label): top for start, label, top in rows} == pieces


def perfect(db: Database, log: RetailLog) -> Rows:
    """What a faultless platform would answer."""
    rows: Rows = []
    events = counted(log)
    cursor = db.execute("FROM want").fetchall()
    for metric, by, window, start, label, top, bottom in cursor:
        if metric in retail.EXACT:
            unit = 10 ** retail.EXACT[metric].scale
            value: Any = top / unit if bottom is None else top / bottom if bottom else None
        else:
            size = retail.WINDOWS_MS[window]
            value = sketched(metric, [e for e in events if start <= e["ms"] < start + size])
        rows.append(
            {
                "metric": metric,
                "by": by,
                "window": window,
                "start_ms": start,
                "label": label,
                "value": json.dumps(value),
            }
        )
    return rows


def sketched(metric: str, events: list[dict[str, Any]]) -> Any:
    if metric in retail.DISTINCT:
        return len({e[retail.DISTINCT[metric]] for e in events})
    if metric in retail.QUANTILES:
        ordered = sorted(e["sales_value"] for e in events)
        return {f"p{q}": ordered[min(len(ordered) - 1, len(ordered) * q // 100)] for q in (50, 90, 99)}
    field = "product_id" if metric == "top_products" else "department"
    counts: dict[str, int] = defaultdict(int)
    for event in events:
        if event[field] != retail.UNKNOWN:
            counts[str(event[field])] += 1
    best = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[: retail.TOP_SIZE]
    return [{"item": item, "estimate": n, "lower": n, "upper": n} for item, n in best]


def compared(db: Database, rows: Rows) -> Comparison:
    return compare(db, pa.Table.from_pylist(rows, GOT), STATED)


def test_a_faultless_platform_is_equal_in_every_window(log: RetailLog, db: Database) -> None:
    result = compared(db, perfect(db, log))
    assert result.first == []
    assert result.agrees
    metrics = {*retail.EXACT, *retail.DISTINCT, *retail.QUANTILES, *retail.TOP}
    assert set(result.by_metric) == metrics


def lied(rows: Rows, metric: str, value: Any) -> Rows:
    """The same rows, but one of the metric's has another value: a JSON text, or a function of the old value."""
    at = next(i for i, row in enumerate(rows) if row["metric"] == metric)
    changed = value(json.loads(rows[at]["value"])) if callable(value) else value
    return [*rows[:at], rows[at] | {"value": json.dumps(changed)}, *rows[at + 1 :]]


@pytest.mark.parametrize(
    ("metric", "lie"),
    [
        ("revenue", lambda v: round(v + 0.01, 2)),
        ("revenue", lambda v: round(v - 0.01, 2)),
        ("revenue", None),
        ("revenue", "much"),
        ("units", lambda v: v + 1),
        ("discount_rate", lambda v: (v or 0) + 1e-6),
        ("orders", lambda v: round(v * 1.05) + 2),
        ("customers", None),
        ("line_value", lambda v: v | {"p50": v["p99"] + 1}),
        ("line_value", lambda v: v | {"p50": None}),
        ("line_value", {}),
        ("top_products", lambda v: v[1:]),
        ("top_products", lambda v: [v[0] | {"upper": v[0]["upper"] - 1}, *v[1:]]),
        ("top_products", lambda v: [v[0] | {"item": "1"}, *v[1:]]),
        ("top_departments", []),
    ],
)
def test_one_wrong_value_is_noticed(log: RetailLog, db: Database, metric: str, lie: Any) -> None:
    result = compared(db, lied(perfect(db, log), metric, lie))
    assert (result.different, result.missing, result.extra) == (1, 0, 0)
    assert result.first[0]["metric"] == metric
    assert not result.agrees


def test_a_missing_window_is_noticed(log: RetailLog, db: Database) -> None:
    result = compared(db, perfect(db, log)[1:])
    assert (result.different, result.missing, result.extra) == (0, 1, 0)
    assert not result.agrees


@pytest.mark.parametrize("change", [{}, {"label": "nowhere"}, {"start_ms": 0}, {"metric": "invented"}])
def test_an_extra_window_or_one_given_twice_is_noticed(log: RetailLog, db: Database, change: dict[str, Any]) -> None:
    rows = perfect(db, log)
    result = compared(db, [*rows, rows[0] | change])
    assert (result.different, result.missing, result.extra) == (0, 0, 1)
    assert not result.agrees


def test_no_answer_at_all_is_no_agreement(db: Database) -> None:
    db.execute("DELETE FROM want")
    assert not compared(db, []).agrees


def judged_as_expected(db: Database) -> pa.Table:
    return db.execute('SELECT partition, "offset" AS src, ts, crc, verdict, reason FROM expected').to_arrow_table()


@pytest.mark.parametrize(
    "lie", ["reason = 'else'", "verdict = 'undecodable'", "crc = crc + 1", "ts = ts + 1", "src = src + 1000000"]
)
def test_one_wrong_verdict_is_noticed(db: Database, lie: str) -> None:
    faultless = judged_as_expected(db)
    assert misjudged(db, faultless) == []
    db.register("faultless", faultless)
    db.execute("CREATE TABLE lying AS FROM faultless")
    db.execute(f"UPDATE lying SET {lie} WHERE (partition, src) = (SELECT (partition, src) FROM lying LIMIT 1)")  # noqa: S608
    assert misjudged(db, db.execute("FROM lying").to_arrow_table())


def test_a_lost_doubled_or_changed_record_is_unexplained(log: RetailLog) -> None:
    raw, sent = log.raw(), log.manifest.table()
    changed = raw.set_column(3, "crc", pa.array([raw["crc"][0].as_py() + 1, *raw["crc"].to_pylist()[1:]], pa.int64()))
    for received in (raw.slice(0, len(raw) - 1), pa.concat_tables([raw, raw.slice(len(raw) - 1)]), changed):
        with duckdb.connect() as db:
            load(db, received, sent)
            assert len(db.execute("FROM unexplained").fetchall()) == 1


def test_lateness_is_decided_by_what_was_received_not_by_what_was_meant(log: RetailLog) -> None:
    """With lateness a hundred times longer nothing is late, and the injector's intention shows as contradicted."""
    with duckdb.connect() as db:
        decided(log, db)
        decide(db, 100 * HORIZONS.lateness_ms)
        assert db.execute("SELECT count(*) FROM expected WHERE outcome = 'late'").fetchone() == (0,)
        assert [(kind, outcome) for kind, outcome, _ in contradictions(db)] == [("late_beyond", "counted")]
