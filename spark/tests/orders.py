"""A domain with a field of every type, and a log of it: repeats, late events, records that are not valid."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

from dataforge.contracts.load import load_domain
from dataforge.contracts.model import Domain
from dataforge.storage.chain import Chain
from dataforge.storage.landing_file import describe, encode
from dataforge.storage.objects import ObjectStore
from dataforge.stream.judged import HEADER, REASON, Acceptance, Verdict, fingerprint, pack
from dataforge.stream.records import LogRecord

SECOND, MINUTE, DAY = 1_000, 60_000, 86_400_000
START = int(datetime(2026, 1, 5, 23, 58, tzinfo=UTC).timestamp() * 1000)
"""Some minutes before a day ends."""
MIDNIGHT = START + 2 * MINUTE
LATENESS_MS, HORIZON_MS = 30 * SECOND, 2 * MINUTE
PARTITIONS = 2
TOPIC_ID = "ab" * 16
CATEGORIES = {"A1": "tea", "B2": "coffee", "C3": "tea"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

CONTRACT: dict[str, Any] = {
    "type": "object",
    "x-dataforge": {"id": "order", "event_time": "at", "key": "customer"},
    "properties": {
        "order": {"type": "string"},
        "at": {"type": "string", "format": "date-time"},
        "customer": {"type": "string"},
        "sku": {"type": "string"},
        "status": {"type": "string"},
        "quantity": {"type": "integer"},
        "amount": {"type": "number", "x-scale": 2},
        "shipping": {"type": ["number", "null"], "x-scale": 3},
        "weight": {"type": "number"},
        "gift": {"type": "boolean"},
        "tags": {"type": "array"},
        "_file": {"type": "string"},
    },
    "required": ["order", "at", "customer", "sku", "status", "quantity", "amount"],
}
_METRICS = """
lateness: 30s
dedupe: 2m
ttl: 2d
dimensions:
  category: {field: sku, lookup: products.category}
  status: {field: status}
  quantity: {field: quantity}
  weight: {field: weight}
  gift: {field: gift}
metrics:
  turnover: {measure: {sum: amount}, by: [[], [category], [status, category]], windows: [10s, 1m, 1h]}
  orders: {measure: count, by: [[], [category], [status, category]], windows: [10s, 1m, 1h]}
  shipped: {measure: {count: shipping}, by: [[quantity]], windows: [1m]}
  paid: {measure: {sum: quantity}, where: {status: paid, amount: {ge: 10.5}}, windows: [1m]}
  by_weight: {measure: count, by: [[weight], [gift]], windows: [1m]}
  dearest: {measure: {max: amount}, windows: [1m]}
  lightest: {measure: {min: weight}, windows: [1m]}
  mean: {measure: {avg: shipping}, by: [[], [status]], windows: [1m]}
  share: {measure: {ratio: {of: [shipping], to: [amount, "-shipping"]}}, by: [[], [status]], windows: [1m, 1h]}
  buyers: {measure: {distinct: customer}, windows: [1m, 1h]}
  kinds: {measure: {distinct: category}, windows: [1m]}
  median: {measure: {quantiles: {field: amount, at: [0.5, 0.99]}}, windows: [1m]}
  weights: {measure: {quantiles: {field: weight, at: [0.5]}}, by: [[status]], windows: [1m, 1h]}
  favourites: {measure: {top_k: {field: sku, k: 2}}, windows: [1m]}
  favourite_kinds: {measure: {top_k: {field: category, k: 2}}, by: [[status]], windows: [1m, 1h]}
"""


SMALL = """
lateness: 30s
dedupe: 2m
dimensions: {category: {field: sku, lookup: products.category}}
metrics:
  turnover: {measure: {sum: amount}, by: [[], [category]], windows: [10s, 1m]}
  share: {measure: {ratio: {of: [shipping], to: [amount, "-shipping"]}}, by: [[], [category]], windows: [10s, 1m]}
  buyers: {measure: {distinct: customer}, windows: [1m]}
  median: {measure: {quantiles: {field: amount, at: [0.5]}}, windows: [1m]}
  favourites: {measure: {top_k: {field: sku, k: 2}}, windows: [1m]}
"""
"""Metrics enough where the numbers are not the point: Spark compiles every table of them anew."""


class Sent(NamedTuple):
    """One raw record, and what is true of it."""

    partition: int
    offset: int
    ts_ms: int
    verdict: Verdict
    event: dict[str, Any] | None
    """With the event time as `at_ms`, decimals as whole numbers; None where the bytes are no event."""
    value: bytes

    @property
    def valid(self) -> bool:
        return self.verdict is Verdict.VALID


def write_domain(folder: Path, metrics: str, contract: Mapping[str, Any] = CONTRACT) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "order.v1.json").write_text(json.dumps(contract))
    (folder / "products.csv").write_text("sku,category\n" + "".join(f"{k},{v}\n" for k, v in CATEGORIES.items()))
    (folder / "lookups.yaml").write_text("products: {source: products.csv, key: sku, columns: [category]}\n")
    (folder / "metrics.yaml").write_text(metrics)
    (folder / "domain.yaml").write_text(f"partitions: {PARTITIONS}\n")
    return folder


def orders_domain(folder: Path, metrics: str = _METRICS, contract: Mapping[str, Any] = CONTRACT) -> Domain:
    return load_domain(write_domain(folder, metrics, contract))


def drawn(seed: int, count: int, start_ms: int = START, first: int = 0) -> list[Sent]:
    """A log of both partitions, in the order of its append times. `first`: number of its first event's id."""
    rnd = random.Random(seed)
    ends, ts_ms = [0] * PARTITIONS, start_ms
    sent: list[Sent] = []
    for n in range(first, first + count):
        ts_ms += rnd.randrange(900)
        partition = rnd.randrange(PARTITIONS)
        before = [one for one in sent if one.valid]
        chance = rnd.random()
        verdict, event = Verdict.VALID, _event(rnd, f"o-{n}", ts_ms - rnd.randrange(5_000))
        value = _written(rnd, event)
        if chance < 0.05 and before:
            again = rnd.choice(before)  # anywhere: near or far, in the same partition or in another
            event, value = again.event, again.value
        elif chance < 0.08 and before:
            assert event is not None
            event = event | {"order": (rnd.choice(before).event or {})["order"]}  # the same id, something else
            value = _written(rnd, event)
        elif chance < 0.12:
            event = _event(rnd, f"o-{n}", ts_ms - LATENESS_MS - rnd.randrange(10 * MINUTE))
            value = _written(rnd, event)
        elif chance < 0.16:
            verdict, event, value = Verdict.UNDECODABLE, None, rnd.randbytes(20)
        elif chance < 0.2:
            verdict = Verdict.QUARANTINED
        sent.append(Sent(partition, ends[partition], ts_ms, verdict, event, value))
        ends[partition] += rnd.choice([1, 1, 1, 3])  # raw offsets may be sparse
    return sent


def _event(rnd: random.Random, order: str, at_ms: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "order": order,
        "at_ms": at_ms,
        "customer": f"c{rnd.randrange(50)}",
        "sku": rnd.choice([*CATEGORIES, "Z9"]),
        "status": rnd.choice(["paid", "open", "ünpaid"]),
        "quantity": rnd.choice([0, 1, 2, 10**15]),
        "amount": rnd.choice([0, 1, 1_050, rnd.randrange(10**9), 10**15 - 1]),
        "shipping": rnd.choice([None, rnd.randrange(10**6)]),
        "weight": rnd.choice([None, 0.1, 5.0, 1e22, rnd.random()]),
        "gift": rnd.choice([None, True, False]),
        "tags": rnd.choice([None, [], ["a", {"b": 1}]]),
        "_file": rnd.choice([None, "f"]),
    }
    return found


def _written(rnd: random.Random, event: dict[str, Any]) -> bytes:
    """The event as a producer may write it: times in any zone, absent fields left out."""
    at = (_EPOCH + timedelta(milliseconds=event["at_ms"])).astimezone(timezone(timedelta(hours=rnd.randrange(-11, 12))))
    said = {name: value for name, value in event.items() if name != "at_ms"}
    said["amount"] = event["amount"] / 100
    said["shipping"] = None if event["shipping"] is None else event["shipping"] / 1000
    for name in ("weight", "gift", "tags", "_file"):
        if said[name] is None:
            del said[name]
    text = at.isoformat(timespec="milliseconds")
    return json.dumps(said | {"at": text.replace("+00:00", "Z")}, ensure_ascii=rnd.random() < 0.5).encode()


def judged(sent: Sequence[Sent], *, zombie: bool = False) -> list[LogRecord]:
    """One partition's judged log. With `zombie`, another judge says some of it again, and something nobody can use."""
    said: list[tuple[int, Sent]] = []
    base = 0
    for one in sent:
        said.append((base, one))
        base = one.offset + 1
    if zombie and len(said) > 9:
        third = len(said) // 3
        said[third:third] = said[third - 3 : third]
        said[2 * third : 2 * third] = [(base + 1_000, said[-1][1])]
    return [_record(n, base, one) for n, (base, one) in enumerate(said)]


def _record(offset: int, base: int, one: Sent) -> LogRecord:
    stamp = pack(one.verdict, one.offset, base, one.ts_ms, 7, fingerprint(one.value), bytes.fromhex(TOPIC_ID))
    headers = [(HEADER, stamp)]
    if one.verdict is Verdict.UNDECODABLE:
        headers += [(REASON, b"not_json"), ("detail", "no JSON: ü".encode())]
    if one.verdict is Verdict.QUARANTINED:
        headers += [(REASON, b"too_dear")]
    if one.valid and one.offset % 3 == 0:
        headers += [("warnings", b"free_item,unknown_product")]
    return LogRecord(offset, one.ts_ms + 5, b"key", one.value or None, headers)


def over_days(seed: int, days: int, count: int) -> list[Sent]:
    """As `drawn`, with `count` records in the minute around each of so many midnights."""
    sent: list[Sent] = []
    for day in range(days):
        ends = [max((one.offset + 1 for one in part), default=0) for part in parts(sent)]
        more = drawn(seed + day, count, MIDNIGHT - 20 * SECOND + day * DAY, day * count)
        sent += [one._replace(offset=one.offset + ends[one.partition]) for one in more]
    return sent


def parts(sent: Sequence[Sent]) -> list[list[Sent]]:
    """By partition."""
    return [[one for one in sent if one.partition == p] for p in range(PARTITIONS)]


async def land(
    store: ObjectStore,
    topic: str,
    partition: int,
    log: Sequence[LogRecord],
    size: int,
    *,
    after: int = 0,
    topic_id: str = TOPIC_ID,
) -> None:
    """The records from offset `after` on as objects of `size` records, as landing-worker writes them."""
    chain = Chain(store, topic, partition)
    acceptance = Acceptance()
    for _ in acceptance.accepted(log[:after]):
        pass
    for run in _runs(log[after:], size):
        for _ in acceptance.accepted(run):
            pass
        footer = describe(
            run, topic=topic, partition=partition, topic_id=topic_id, start=run[0].offset, following=run[-1].offset + 1,
            accepted_next=acceptance.next,
        )  # fmt: skip
        assert await store.put_if_absent(chain.key(run[0].offset), encode(run, footer))


async def land_raw(
    store: ObjectStore, topic: str, partition: int, sent: Sequence[Sent], size: int, *, after: int = 0
) -> None:
    """One partition's raw records but for the first `after`, as objects of `size` records."""
    chain = Chain(store, topic, partition)
    records = [LogRecord(one.offset, one.ts_ms, b"key", one.value or None, []) for one in sent]
    start = records[after - 1].offset + 1 if after else 0
    for run in _runs(records[after:], size):
        following = run[-1].offset + 1
        footer = describe(run, topic=topic, partition=partition, topic_id=TOPIC_ID, start=start, following=following)
        assert await store.put_if_absent(chain.key(start), encode(run, footer))
        start = following


def _runs(log: Sequence[LogRecord], size: int) -> Iterator[list[LogRecord]]:
    for at in range(0, len(log), size):
        yield list(log[at : at + size])
