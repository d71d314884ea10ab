"""A replay into a list instead of Kafka: what a log would hold, for tests without one."""

from dataclasses import dataclass
from zlib import crc32

import duckdb
import pyarrow as pa

from devstack.oracle.log import RAW
from devstack.oracle.outcomes import decide, load
from devstack.oracle.rest import rest_of
from devstack.replay.manifest import Manifest
from devstack.replay.plan import Faults, Horizons, Plan
from devstack.replay.purchases import Purchases, read_purchases
from devstack.replay.replay import Options, plan_of, records
from devstack.replay.send import Outgoing

ORIGIN_MS = 1_800_000_000_000
PARTITIONS = 3
HORIZONS = Horizons(lateness_ms=10_000, dedupe_ms=600_000)
FAULTS = Faults(duplicates=0.05, late=0.05, out_of_order=0.05, malformed=0.05)


@dataclass(frozen=True, slots=True)
class RetailLog:
    purchases: Purchases
    plan: Plan
    sent: list[Outgoing]
    manifest: Manifest

    def raw(self) -> pa.Table:
        """As an independent consumer would read it back, appended a moment after the last event time."""
        after_ms = ORIGIN_MS + int(self.plan.send_ms[-1])
        following = dict.fromkeys(range(PARTITIONS), 0)
        rows = []
        for record in self.sent:
            value = record.value or b""
            rest = rest_of(record.key, record.value, record.headers)
            rows.append((record.partition, following[record.partition], after_ms, crc32(value), len(value), rest))
            following[record.partition] += 1
        return pa.table([list(c) for c in zip(*rows, strict=True)], schema=RAW)


def retail_log(events: int, faults: Faults = FAULTS, horizons: Horizons = HORIZONS, seed: int = 7) -> RetailLog:
    purchases, manifest = read_purchases(events), Manifest()
    options = Options(faults=faults, seed=seed)
    _, plan = plan_of(purchases, options, PARTITIONS, horizons)
    sent = records(purchases, plan, slice(0, len(plan)), ORIGIN_MS, options, manifest)
    return RetailLog(purchases, plan, sent, manifest)


def decided(log: RetailLog, db: duckdb.DuckDBPyConnection, lateness_ms: int = HORIZONS.lateness_ms) -> None:
    load(db, log.raw(), log.manifest.table())
    decide(db, lateness_ms)
