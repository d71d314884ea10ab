"""Purchases through the real judge and the real fold, in memory, beside the oracle: every window and outcome equal."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from retail_log import ORIGIN_MS, PARTITIONS, RetailLog, decided, retail_log

from dataforge.contracts.load import load_domains
from dataforge.kpi.catalogue import Catalogue
from dataforge.kpi.query import KpiRow, rolling_rows, window_rows
from dataforge.state.memory import MemoryState
from dataforge.stream.judged import HEADER, REASON, Stamp, fingerprint, reason_of, unpack
from dataforge.stream.records import LogRecord, RecordBatch, TopicPartition

from aggregator.compile import compile_event
from aggregator.partition import AggregatorPartition
from devstack.oracle import retail
from devstack.oracle.compare import GOT, Comparison, compare
from devstack.oracle.log import JUDGED
from devstack.oracle.outcomes import misjudged
from devstack.oracle.windows import expect_windows, rolling_instants
from devstack.paths import repo_root
from devstack.replay.plan import Horizons
from quality_worker.judge import Judge

EVENTS = 6_000
[DOMAIN] = load_domains([repo_root() / "domains" / "retail"])
EVENT = DOMAIN.event("purchase")


def judged(log: RetailLog) -> dict[int, list[LogRecord]]:
    """Partition -> what quality-worker would have written."""
    judge = Judge(EVENT)
    after_ms = ORIGIN_MS + int(log.plan.send_ms[-1])
    found: dict[int, list[LogRecord]] = defaultdict(list)
    for sent in log.sent:
        src = len(found[sent.partition])
        verdict = judge.judge(LogRecord(src, after_ms, sent.key, sent.value))
        stamp = Stamp(verdict.verdict, src, src, after_ms, 0, fingerprint(sent.value), bytes(16))
        headers = [(HEADER, stamp.pack()), (REASON, verdict.reason.encode())]
        found[sent.partition].append(LogRecord(src, after_ms, sent.key, sent.value, headers))
    return found


def verdicts(partitions: dict[int, list[LogRecord]]) -> pa.Table:
    rows = []
    for partition, records in partitions.items():
        for record in records:
            stamp, reason = unpack(record.headers), reason_of(record.headers)
            rows.append((partition, stamp.src, stamp.ts, stamp.crc, stamp.verdict.name.lower(), reason))
    return pa.table([list(c) for c in zip(*rows, strict=True)], schema=JUDGED)


class Folded:
    """What the aggregator holds after a log, asked as query-api asks."""

    def __init__(self) -> None:
        self.store = MemoryState()
        self.compiled = compile_event(EVENT, DOMAIN.fingerprint)
        self.catalogue = Catalogue([DOMAIN])

    async def fold(self, partitions: dict[int, list[LogRecord]]) -> None:
        for partition, records in partitions.items():
            tp = TopicPartition(EVENT.contract.judged_topic, partition)
            worker = AggregatorPartition(tp, self.compiled, self.store, lambda: 0.0)
            await worker.open()
            for start in range(0, len(records), 700):
                part = records[start : start + 700]
                await worker.take(RecordBatch(*tp, start, start + len(part), part))
            await worker.close()

    async def rows(self, metric: str, by: str, window: str, at_ms: int | None = None) -> list[KpiRow]:
        asked = self.catalogue.select(metric=metric, by=[by] if by else [], window=window)
        reads = [
            await self.store.read(self.compiled.name, p, asked.view.table.id, asked.step_ms, 0, 2**60)
            for p in range(PARTITIONS)
        ]
        if asked.rolling and at_ms is not None:
            return rolling_rows(asked.view, asked.rolling, reads, at_ms, EVENT.lateness_ms)
        return window_rows(asked.view, asked.size_ms, reads, EVENT.lateness_ms)

    async def every_row(self, rolling_at_ms: list[int]) -> AsyncIterator[dict[str, Any]]:
        questions: list[tuple[str, str, str, int | None]] = []
        for metric in retail.EXACT:
            for by in retail.DIMENSIONS:
                questions += [(metric, by, window, None) for window in retail.WINDOWS_MS]
                questions += [(metric, by, "rolling:5m", at) for at in rolling_at_ms]
        for metric in (*retail.DISTINCT, *retail.QUANTILES, *retail.TOP):
            questions += [(metric, "", window, None) for window in retail.SKETCHED_WINDOWS]
        for metric, by, window, at in questions:
            for row in await self.rows(metric, by, window, at):
                label = row.labels[0] if by else ""
                yield {
                    "metric": metric, "by": by, "window": window, "start_ms": row.start_ms, "label": label,
                    "value": json.dumps(row.value),
                }  # fmt: skip

    async def outcomes(self) -> dict[str, int]:
        total: dict[str, int] = defaultdict(int)
        for partition in range(PARTITIONS):
            for counts in (await self.store.ledger(self.compiled.name, partition)).values():
                for outcome in ("counted", "duplicate", "late"):
                    total[outcome] += counts[outcome]
        return total

    def bounds(self) -> dict[str, float]:
        errors = {name: view.error() for (name, _), view in self.compiled.plan.views.items()}
        return {name: error["bound"] for name, error in errors.items() if error and isinstance(error["bound"], float)}


@pytest.fixture(scope="module")
def log() -> RetailLog:
    return retail_log(EVENTS, horizons=Horizons(EVENT.lateness_ms, EVENT.dedupe_ms))


async def test_every_window_and_outcome_is_the_oracles(log: RetailLog) -> None:
    partitions, folded = judged(log), Folded()
    await folded.fold(partitions)
    with duckdb.connect() as db:
        decided(log, db, retail.LATENESS_MS)
        assert misjudged(db, verdicts(partitions)) == []
        query = "SELECT outcome, count(*) FROM expected WHERE outcome NOT NULL GROUP BY 1"
        outcomes = dict(db.execute(query).fetchall())
        assert await folded.outcomes() == outcomes
        assert outcomes["late"] > 50
        instants = rolling_instants(db)
        expect_windows(db, instants)
        result: Comparison = compare(
            db, pa.Table.from_pylist([row async for row in folded.every_row(instants)], GOT), folded.bounds()
        )
    assert result.first == []
    assert result.agrees
    assert result.compared > 2_000
