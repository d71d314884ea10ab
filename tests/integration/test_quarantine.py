"""Rejected records as an operator meets them: in quarantine, too many of them, and after the mess is cleared up."""

import asyncio
import base64
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner, Result

from dataforge import alerts
from dataforge.stream.judged import Acceptance
from dataforge.stream.range_reader import RangeReader
from dataforge.stream.records import Record, TopicPartition

from devstack.cli import build
from devstack.errors import StackError, UsageError
from devstack.model import SERVICES
from devstack.stack import Stack
from reading import wait_until

BAD, FLOOD, MORE = 5, 1_500, 100
ALL = FLOOD + MORE
SALE, NOTE = "raw.shop.sale.v1", "raw.shop.note.v1"
BROKEN = b'{"id": "\x1b[2J", "at": 1, "text": [\xff'

pytestmark = [pytest.mark.integration, pytest.mark.slow]


class Shop:
    """A stack of one worker, and the ways to look at it."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.reach = stack, stack.endpoints()

    def send(self, topic: str, partition: int, values: list[bytes | None]) -> None:
        asyncio.run(self._send(topic, partition, values))

    async def _send(self, topic: str, partition: int, values: list[bytes | None]) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.reach.kafka) as producer:
            for value in values:
                await producer.send(topic, value, key=b"k\x07", partition=partition)
            await producer.flush()

    def records(self, topic: str, partition: int = 0) -> list[Record]:
        return asyncio.run(self._records(TopicPartition(topic, partition)))

    async def _records(self, tp: TopicPartition) -> list[Record]:
        async with RangeReader(self.reach.kafka) as reader:
            end = (await reader.end_offsets([tp]))[tp]
            return [record async for records in reader.read(tp, 0, end) for record in records]

    def judged(self, raw: str, partition: int = 0) -> list[int]:
        """Raw offsets that have their verdict."""
        found = Acceptance().accepted(self.records(raw.replace("raw.", "judged."), partition))
        return [stamp.src for _, stamp in found]

    def alerts(self) -> dict[str, alerts.Alert]:
        return alerts.current(alerts.decode(record.value or b"") for record in self.records(alerts.TOPIC))

    def paused(self) -> dict[str, str]:
        """What readiness remarks: the worker is ready all the same."""
        answer = httpx.get(f"{self.reach.admin_urls['quality-worker']}/readyz", timeout=10)
        return answer.json().get("remarks", {}) if answer.is_success else {}

    def gauge(self, name: str) -> float:
        """NaN while it is not told: between a start, or a rebalance, and the next report."""
        text = httpx.get(f"{self.reach.admin_urls['quality-worker']}/metrics", timeout=10).text
        return float(next((line for line in text.splitlines() if line.startswith(name)), "nan").rpartition(" ")[2])

    def command(self, *arguments: object) -> Result:
        """In this process: a test that starts Python for each of thirty commands would take minutes."""
        given = [*map(str, arguments), "--data", str(self.stack.paths.data)]
        return CliRunner().invoke(build(given), given)

    def answer(self, *arguments: object) -> Any:
        done = self.command(*arguments, "--json")
        assert done.exit_code == 0, (done.exception, done.stderr)
        return json.loads(done.stdout)

    def process(self, *arguments: object) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "devstack", *map(str, arguments), "--data", str(self.stack.paths.data)]
        return subprocess.run(command, capture_output=True, timeout=120, check=False)


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Each test's own: they count all that is in quarantine, in whatever order they run."""
    folder = tmp_path_factory.mktemp("domains") / "shop"
    folder.mkdir()
    (folder / "domain.yaml").write_text("partitions: 2\n")
    for event in ("sale", "note"):
        contract = {
            "type": "object",
            "x-dataforge": {"id": "id", "event_time": "at", "key": "id"},
            "properties": {"id": {"type": "string"}, "at": {"type": "integer", "x-time": "epoch_ms"}},
            "required": ["id", "at"],
        }
        (folder / f"{event}.v1.json").write_text(json.dumps(contract))
    worker = [service for service in SERVICES if service.name == "quality-worker"]
    data = tmp_path_factory.mktemp("stack")
    with Stack.start(data, [folder], services=worker, servers=("kafka", "s3proxy"), tied=True, timeout_s=300) as stack:
        yield Shop(stack)


def good(count: int) -> list[bytes | None]:
    now_ms = time.time_ns() // 1_000_000
    return [json.dumps({"id": f"{now_ms}-{n}", "at": now_ms}).encode() for n in range(count)]


@pytest.mark.timeout(600)
def test_too_many_rejections_pause_the_topic_until_somebody_resumes_it(shop: Shop) -> None:
    shop.send(SALE, 0, [b"{}"] * FLOOD)
    shop.send(NOTE, 1, [*good(10), None, *[BROKEN] * (BAD - 1)])
    wait_until(lambda: shop.alerts().get(f"topic_paused/{SALE}"), "the pause is alerted")
    shop.send(SALE, 1, good(3))
    wait_until(lambda: len(shop.judged(NOTE, 1)) == 10 + BAD, "the other topic goes on")
    judged = shop.judged(SALE)
    assert len(judged) < 1_000
    assert SALE in shop.paused()["paused"]
    assert shop.gauge(f'dataforge_paused{{topic="{SALE}"}}') == 1
    assert shop.gauge(f'dataforge_paused{{topic="{NOTE}"}}') == 0
    shop.send(SALE, 0, [b"{}"] * MORE)
    lag = f'dataforge_lag_records{{partition="0",topic="{SALE}"}}'
    wait_until(lambda: shop.gauge(lag) == ALL - len(judged), "the lag grows")

    pid = shop.stack.pid("quality-worker")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: shop.stack.pid("quality-worker") not in (0, pid), "the worker is started again")
    wait_until(lambda: SALE in _tried(shop).get("paused", ""), "it comes up ready, and remarks on the pause")
    assert (shop.judged(SALE), shop.judged(SALE, 1)) == (judged, [])

    assert isinstance(shop.command("resume", "raw.shop.nothing.v1").exception, UsageError)
    assert shop.answer("resume", SALE)["through"] == {}
    wait_until(lambda: len(_pauses(shop)) == 2, "what waits is still too bad: it pauses again")
    assert shop.judged(SALE, 1) in ([], [0, 1, 2])
    assert shop.answer("resume", SALE, "--through")["through"]["0"] == ALL
    wait_until(lambda: shop.judged(SALE) == list(range(ALL)), "all that was there is let through")
    wait_until(lambda: shop.judged(SALE, 1) == [0, 1, 2], "the other partition goes on")
    assert shop.alerts()[f"topic_paused/{SALE}"].state == "cleared"
    wait_until(lambda: not _tried(shop), "readiness has nothing left to remark")
    assert isinstance(shop.command("resume", SALE).exception, UsageError)

    rejected = [f"{SALE}/0/{n}" for n in range(ALL)]
    wait_until(
        lambda: {r.key.decode() for r in shop.records("quarantine.shop.sale.v1") if r.key} == {*rejected},
        "each of them is in quarantine",
    )
    _quarantine_can_be_worked_with(shop)


@pytest.mark.timeout(300)
def test_a_record_that_only_compression_made_small_is_rejected_without_its_bytes(shop: Shop) -> None:
    """Kafka measures a record compressed: none but the judge looks at how large it is."""
    photo = base64.b64encode(random.Random(1).randbytes(7_000_000))
    asyncio.run(_send_compressed(shop, NOTE, b'{"id": "1", "at": 1, "photo": "%b"}' % photo))
    shop.send(NOTE, 0, good(1))
    wait_until(lambda: shop.judged(NOTE) == [0, 1], "the worker goes on")
    verdict = shop.records("judged.shop.note.v1")[0]
    assert (verdict.key, verdict.value, dict(verdict.headers)["reason"]) == (None, None, b"too_large")
    copy = (f"{NOTE}/0/0".encode(), None)
    wait_until(lambda: copy in [(r.key, r.value) for r in shop.records("quarantine.shop.note.v1")], "its copy is there")


async def _send_compressed(shop: Shop, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=shop.reach.kafka, compression_type="zstd", max_request_size=2**25
    ) as producer:
        await producer.send_and_wait(topic, value, key=b"1", partition=0)


def _quarantine_can_be_worked_with(shop: Shop) -> None:
    wait_until(lambda: len(shop.answer("quarantine", "ls", "--event", "note")) == BAD, "notes are in quarantine")
    newest = shop.answer("quarantine", "ls", "--limit", 3, "--event", "sale.v1")
    assert [r["origin"] for r in newest] == [f"{SALE}/0/{n}" for n in _last(3, newest)]
    assert {r["reason"] for r in newest} == {"missing_field"}
    assert len(shop.answer("quarantine", "ls", "--limit", 5_000)) == ALL + BAD
    assert len(shop.answer("quarantine", "ls", "--reason", "empty_value", "--domain", "shop")) == 1
    assert shop.answer("quarantine", "ls", "--reason", "too_old", "--since", "1h") == []

    shown = shop.command("quarantine", "ls", "--event", "note").stdout_bytes
    assert b"\\x1b[2J" in shown
    assert b"\x1b[2J" not in shown
    origin = f"{NOTE}/1/{10 + BAD - 1}"
    assert shop.command("quarantine", "show", origin, "--raw").stdout_bytes == BROKEN
    one = shop.answer("quarantine", "show", origin)
    assert (one["reason"], one["verdict"], one["value"]) == ("invalid_utf8", "undecodable", None)
    assert one["original"]["key"] == "k\x07"
    assert b"invalid_utf8" in shop.command("quarantine", "show", origin).stdout_bytes
    assert b"tombstone" in shop.command("quarantine", "show", f"{NOTE}/1/10").stdout_bytes

    stats = shop.answer("quarantine", "stats", "--since", "1h")
    topics = {topic["topic"]: topic for topic in stats["topics"]}
    assert (topics[NOTE]["received"], topics[NOTE]["rejected"]) == (10 + BAD, BAD)
    assert topics[NOTE]["reasons"] == {"empty_value": 1, "invalid_utf8": BAD - 1}
    assert topics[SALE]["share"] == pytest.approx(ALL / (ALL + 3))
    assert sum(sum(bucket["reasons"].values()) for bucket in stats["buckets"]) == ALL + BAD
    assert b"99.81%" in shop.command("quarantine", "stats").stdout_bytes

    for wrong, error in {
        ("show", f"{NOTE}/1/0"): StackError,  # it was valid
        ("show", "elsewhere"): UsageError,
        ("show", "raw.shop.note.v1/7/0"): UsageError,
        ("show", origin, "--raw", "--json"): UsageError,
        ("ls", "--domain", "nobody"): UsageError,
        ("ls", "--since", "yesterday"): UsageError,
    }.items():
        assert isinstance(shop.command("quarantine", *wrong).exception, error), wrong
    done = shop.process("quarantine", "show", "elsewhere")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"quarantine ls" in done.stderr
    assert b"Traceback" not in done.stderr


def _last(count: int, newest: list[dict[str, Any]]) -> list[int]:
    """The newest ones, as far as their time tells: those of one millisecond are in the order of their names."""
    offsets = [int(r["origin"].rpartition("/")[2]) for r in newest]
    assert len(set(offsets)) == count
    assert [r["at_ms"] for r in newest] == sorted((r["at_ms"] for r in newest), reverse=True)
    return offsets


def _pauses(shop: Shop) -> list[Record]:
    return [r for r in shop.records("control.v1") if b'"paused"' in (r.value or b"")]


def _tried(shop: Shop) -> dict[str, str]:
    """Remarks, while the worker may be away."""
    try:
        return shop.paused()
    except httpx.HTTPError:
        return {}
