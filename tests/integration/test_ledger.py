"""Ledger, verify and receipts on a real stack, beside the oracle's own idea of every record's outcome."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aioboto3
import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.config import Config
from redis.asyncio import Redis

from devstack.demo.settle import through
from devstack.model import Endpoints
from devstack.oracle import retail
from devstack.oracle.api import Api
from devstack.oracle.landed import Landing
from devstack.oracle.log import read_raw
from devstack.oracle.outcomes import decide, load
from devstack.oracle.verify.findings import Report
from devstack.paths import repo_root
from devstack.replay.replay import TOPIC
from devstack.stack import Stack
from devstack.verifying import domains_of, servers_of, verify_domain

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

COMMAND = [sys.executable, "-c", "from devstack.cli import app; app()"]
RETAIL = repo_root() / "domains" / "retail"
EVENTS, PASSES, SAMPLE = 6_000, (1, 2), 60
NAME = TOPIC.removeprefix("raw.")


def dataforge(folder: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [*COMMAND, *arguments, "--data", str(folder)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledger")


@pytest.fixture(scope="module")
def reach(folder: Path) -> Iterator[Endpoints]:
    """A stack with two replays through it, one after the other, so that a chain has more objects than its last one.

    Faults of every kind; verified once while the first was flowing.
    """
    with Stack.start(folder, [str(RETAIL)], env={"DATAFORGE_REJECT_LIMITS": "off"}, tied=True, timeout_s=300) as stack:
        reach = stack.endpoints()
        with ThreadPoolExecutor(1) as beside:
            first = beside.submit(replay, folder, PASSES[0])
            flowing = verified(reach)
            first.result()
        assert_clean(flowing)
        all_through(reach)
        replay(folder, PASSES[1])
        all_through(reach)
        yield reach


def replay(folder: Path, number: int) -> None:
    dataforge(
        folder, "replay", "--events", str(EVENTS), "--pass", str(number), "--rate", "3000", "--duplicates", "2%",
        "--late", "2%", "--out-of-order", "2%", "--malformed", "2%", "--manifest", str(manifest(folder, number)),
    )  # fmt: skip


def manifest(folder: Path, number: int) -> Path:
    return folder / f"sent-{number}.parquet"


def all_through(reach: Endpoints) -> None:
    with Api(reach.api_url, reach.api_token) as api:
        landing = Landing(servers_of(reach).bucket, TOPIC)
        asyncio.run(through(reach.kafka, TOPIC, landing, api, stalled_s=120))


def verified(reach: Endpoints) -> Report:
    [domain] = domains_of([str(RETAIL)], "retail")
    return asyncio.run(verify_domain(reach, domain))


def assert_clean(report: Report) -> None:
    assert report.clean, [check.first for check in report.checks if check.first]


@pytest.fixture(scope="module")
def expected(reach: Endpoints, folder: Path) -> pa.Table:
    """*Shape*: partition, offset, verdict, reason, outcome (null where not valid), watermark, event_ms."""
    with duckdb.connect() as db:
        sent = pa.concat_tables([pq.read_table(manifest(folder, number)) for number in PASSES])
        load(db, asyncio.run(read_raw(reach.kafka, TOPIC)), sent)
        decide(db, retail.LATENESS_MS)
        return db.execute("FROM expected").to_arrow_table()


def test_after_the_replay_everything_fits(reach: Endpoints, expected: pa.Table, folder: Path):
    [report] = json.loads(dataforge(folder, "ledger", "verify", "--json"))
    assert report["clean"] is True
    looked_at = {name: sum(c["looked_at"] for c in report["checks"] if c["name"] == name) for name in
                 ("raw landing", "raw log", "judged landing", "judged log", "verdicts", "quarantine")}  # fmt: skip
    rejected = expected.num_rows - expected["verdict"].to_pylist().count("valid")
    assert looked_at.pop("quarantine") == rejected
    assert set(looked_at.values()) == {expected.num_rows}


def test_the_ledger_is_the_oracles(reach: Endpoints, expected: pa.Table, folder: Path):
    answer = json.loads(dataforge(folder, "ledger", "--domain", "retail", "--json"))
    totals = answer["totals"]
    outcomes = expected["outcome"].to_pylist()
    assert (answer["balanced"], answer["away"]) == (True, [])
    assert (totals["received"], totals["landed"], totals["judged"]) == (expected.num_rows,) * 3
    assert {name: totals[name] for name in ("counted", "duplicate", "late")} == {
        name: outcomes.count(name) for name in ("counted", "duplicate", "late")
    }
    shown = dataforge(folder, "ledger")
    assert shown.count(" ok") == 4
    assert "NO" not in shown


def test_receipts_of_all_outcomes_are_the_oracles(reach: Endpoints, expected: pa.Table, folder: Path):
    rows = sampled(expected)
    assert {row["outcome"] or row["verdict"] for row in rows} == {
        "counted", "duplicate", "late", "quarantined", "undecodable",
    }  # fmt: skip
    with Api(reach.api_url, reach.api_token) as api:
        for row in rows:
            receipt = msgspec.json.decode(api.get(f"/receipts/{TOPIC}/{row['partition']}/{row['offset']}"))
            judging, counting = receipt["judging"], receipt["counting"]
            assert receipt["landing"]["object"].startswith(f"landing/{TOPIC}/{row['partition']}/")
            assert (judging["verdict"], judging["reason"] or "") == (row["verdict"], row["reason"]), row
            assert counting["state"] == (row["outcome"] or "none"), row
            if counting["state"] == "counted":
                assert counting["visible_since"] or counting["visible_before"]
                assert {"revenue", "orders"} <= {m for w in counting["windows"] for m in w["metrics"]}
            if counting["state"] == "late":
                late_by_ms = row["watermark"] - row["event_ms"] - retail.LATENESS_MS
                assert counting["late_by_ms"] == late_by_ms
    [late] = [row for row in rows if row["outcome"] == "late"][:1]
    assert "late by" in dataforge(folder, "where", f"{TOPIC}/{late['partition']}/{late['offset']}")


def sampled(expected: pa.Table) -> list[dict[str, Any]]:
    """As many of each outcome, spread over the log."""
    by_outcome: dict[str, list[dict[str, Any]]] = {}
    for row in expected.sort_by([("partition", "ascending"), ("offset", "ascending")]).to_pylist():
        by_outcome.setdefault(row["outcome"] or row["verdict"], []).append(row)
    each = SAMPLE // len(by_outcome)
    return [row for rows in by_outcome.values() for row in rows[:: max(1, len(rows) // each)][:each]]


def test_an_event_id_is_found_with_its_repeats(reach: Endpoints, expected: pa.Table, folder: Path):
    [row] = [r for r in sampled(expected) if r["outcome"] == "duplicate"][:1]
    with Api(reach.api_url, reach.api_token) as api:
        receipt = msgspec.json.decode(api.get(f"/receipts/{TOPIC}/{row['partition']}/{row['offset']}"))
    event_id, first = receipt["counting"]["event_id"], receipt["counting"]["duplicate_of"]
    found = json.loads(dataforge(folder, "where", event_id, "--json"))
    places = [(r["partition"], r["offset"], r["counting"]["state"]) for r in found["receipts"]]
    assert (row["partition"], row["offset"], "duplicate") in places
    assert (row["partition"], first) in [place[:2] for place in places]
    assert sum(s["records"] for s in found["searched"]) == expected.num_rows
    assert "0 records" in dataforge(folder, "where", "nobody", "--since", "5m", code=1)
    assert "unknown_offset" in subprocess.run(
        [*COMMAND, "where", f"{TOPIC}/0/{10**9}", "--data", str(folder)], capture_output=True, text=True, check=False
    ).stderr.replace("\n", "")


@asynccontextmanager
async def bucket(reach: Endpoints) -> AsyncIterator[Any]:
    session = aioboto3.Session(aws_access_key_id=reach.s3_access_key, aws_secret_access_key=reach.s3_secret_key)
    options: Any = {"endpoint_url": reach.s3_endpoint, "config": Config(s3={"addressing_style": "path"})}
    client: Any = session.client("s3", region_name=reach.s3_region, **options)
    async with client as s3:
        yield s3


def test_an_object_that_is_gone_or_changed_is_named(reach: Endpoints):
    async def main() -> None:
        [domain] = domains_of([str(RETAIL)], "retail")
        async with bucket(reach) as s3:
            listed = await s3.list_objects_v2(Bucket=reach.s3_bucket, Prefix=f"landing/{TOPIC}/0/")
            *keys, _ = [entry["Key"] for entry in listed["Contents"] if entry["Key"].endswith(".parquet")]
            key = keys[len(keys) // 2]  # without its last object a chain is only shorter, and its records on their way
            whole = await (await s3.get_object(Bucket=reach.s3_bucket, Key=key))["Body"].read()
            start = int(key[-28:-8])
            try:
                await s3.delete_object(Bucket=reach.s3_bucket, Key=key)
                report = await verify_domain(reach, domain)
                found = {c.name: c.first for c in report.checks if c.first is not None and c.partition == 0}
                assert {"raw landing", "raw log"} <= set(found)
                assert (found["raw log"].offset, found["raw log"].what) == (start, "in the log, and not landed")
                await s3.put_object(Bucket=reach.s3_bucket, Key=key, Body=whole[:100] + b"x" + whole[101:])
                report = await verify_domain(reach, domain)
                [first] = [c.first for c in report.checks if c.first and c.name == "raw landing"]
                assert first.offset == start
            finally:
                await s3.put_object(Bucket=reach.s3_bucket, Key=key, Body=whole)
        assert_clean(await verify_domain(reach, domain))

    asyncio.run(main())


def test_a_ledger_that_says_one_too_many_is_named_with_its_minute(reach: Endpoints, folder: Path):
    async def main() -> None:
        key = f"df:{{{NAME}/1}}:ledger"
        client: Any = Redis.from_url(reach.redis_url)
        async with client as redis:
            minute, packed = next(iter((await redis.hgetall(key)).items()))
            entry = msgspec.msgpack.decode(packed)
            try:
                changed = entry | {"counted": entry["counted"] + 1, "valid": entry["valid"] + 1}
                await redis.hset(key, minute, msgspec.msgpack.encode(changed))
                [report] = json.loads(dataforge(folder, "ledger", "verify", "--json", code=1))
                [wrong] = [c for c in report["checks"] if c["misfits"]]
                assert (wrong["name"], wrong["partition"]) == ("ledger", 1)
                first = wrong["first"]
                assert first["found"]["counted"] == first["expected"]["counted"] + 1
                assert (
                    json.loads(dataforge(folder, "ledger", "--domain", "retail", "--json", code=1))["balanced"] is False
                )
            finally:
                await redis.hset(key, minute, packed)

    asyncio.run(main())
