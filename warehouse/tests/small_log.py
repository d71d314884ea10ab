"""A small real log: purchases of a twenty-fifth of the households on six days of three months, with repeats and junk.

The source's own times are kept, so months pass; what is sent twice, and what is no event, is drawn from the rows.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import duckdb

from dataforge.contracts.load import load_domain
from dataforge.storage.chain import Chain
from dataforge.storage.landing_file import describe, encode
from dataforge.storage.objects import ObjectStore
from dataforge.stream.judged import HEADER, REASON, Acceptance, fingerprint, pack
from dataforge.stream.records import LogRecord

from devstack.paths import repo_root
from devstack.replay.purchases import source
from quality_worker.judge import Judge

DOMAIN = repo_root() / "domains" / "retail"
PARTITIONS = 4
TOPIC_ID = "cd" * 16
SELECTED = f"""
    SELECT *, strftime(make_timestamp_ms(bought_ms), '%Y-%m-%dT%H:%M:%S.%gZ') AS occurred_at
    FROM (
        SELECT file_row_number AS row, epoch_ms(transaction_timestamp) AS bought_ms, household_id, store_id, basket_id,
               product_id, quantity, round(sales_value * 100)::BIGINT AS sales_cents,
               round(retail_disc * 100)::BIGINT AS retail_cents, round(coupon_disc * 100)::BIGINT AS coupon_cents,
               round(coupon_match_disc * 100)::BIGINT AS match_cents, week
        FROM read_parquet('{source("transactions")}', file_row_number = true)
    )
    WHERE household_id % 25 = 1 AND make_timestamp_ms(bought_ms)::DATE IN (
        '2017-01-30', '2017-01-31', '2017-02-01', '2017-02-28', '2017-03-01', '2017-03-02')
    ORDER BY bought_ms, row
"""  # noqa: S608 - a path of ours
REPEAT_EVERY, JUNK_EVERY = 20, 50


class Sent(NamedTuple):
    """One raw record."""

    ts_ms: int
    partition: int
    value: bytes


def purchases() -> list[dict[str, Any]]:
    """The selected rows of the source, in the order of their times."""
    with duckdb.connect() as db:
        return db.execute(SELECTED).to_arrow_table().to_pylist()


def event_id(purchase: dict[str, Any]) -> str:
    return f"line-{purchase['row']}"


def sent(purchases: Sequence[dict[str, Any]]) -> list[Sent]:
    """In the order of their append times. A repeat comes an hour later, every other one in another partition."""
    log: list[Sent] = []
    for n, purchase in enumerate(purchases):
        ts_ms, partition = purchase["bought_ms"] + 2_000, purchase["household_id"] // 25 % PARTITIONS
        log.append(Sent(ts_ms, partition, _written(purchase)))
        if n % REPEAT_EVERY == 0:
            elsewhere = (partition + n // REPEAT_EVERY % 2) % PARTITIONS
            log.append(Sent(ts_ms + 3_600_000, elsewhere, _written(purchase)))
        if n % JUNK_EVERY == 0:
            log.append(Sent(ts_ms + 1, partition, b'{"event_id": "'))
    return sorted(log, key=lambda one: one.ts_ms)


def _written(purchase: dict[str, Any]) -> bytes:
    cents = {"sales_value": "sales", "retail_disc": "retail", "coupon_disc": "coupon", "coupon_match_disc": "match"}
    names = ("household_id", "store_id", "basket_id", "product_id", "quantity", "week", "occurred_at")
    said = {name: purchase[name] for name in names}
    said |= {name: purchase[f"{column}_cents"] / 100 for name, column in cents.items()}
    return json.dumps({"event_id": event_id(purchase), **said}).encode()


def judged(log: Sequence[Sent]) -> list[list[LogRecord]]:
    """The judged log of each partition, as quality-worker writes it."""
    judge = Judge(load_domain(DOMAIN).events[0])
    logs: list[list[LogRecord]] = [[] for _ in range(PARTITIONS)]
    for one in log:
        records = logs[one.partition]
        offset = len(records)
        said = judge.judge(LogRecord(offset, one.ts_ms, b"key", one.value))
        contract = judge.event.contract.fingerprint
        crc, topic_id = fingerprint(one.value), bytes.fromhex(TOPIC_ID)
        headers = [(HEADER, pack(said.verdict, offset, offset, one.ts_ms, contract, crc, topic_id))]
        if said.reason:
            headers += [(REASON, said.reason.encode()), ("detail", said.detail.encode())]
        if said.warnings:
            headers.append(("warnings", ",".join(said.warnings).encode()))
        records.append(LogRecord(offset, one.ts_ms + 5, b"key", one.value, headers))
    return logs


async def land(store: ObjectStore, partition: int, log: Sequence[LogRecord], after: int) -> None:
    """What a judged partition has from offset `after` on, as one object, as landing-worker writes it."""
    topic, records = load_domain(DOMAIN).events[0].contract.judged_topic, log[after:]
    acceptance = Acceptance()
    for _ in acceptance.accepted(log):
        pass
    footer = describe(
        records, topic=topic, partition=partition, topic_id=TOPIC_ID, start=after, following=len(log),
        accepted_next=acceptance.next,
    )  # fmt: skip
    assert await store.put_if_absent(Chain(store, topic, partition).key(after), encode(records, footer))
