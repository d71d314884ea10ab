"""What `ledger verify` compares, piece by piece: objects and footers, outcomes counted again, what people see."""

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from dataforge.storage.landing_file import describe, encode
from dataforge.stream.records import LogRecord

from devstack.commands.ledger import show_ledger, show_report
from devstack.commands.where import show_receipt
from devstack.oracle.verify.findings import Check, Event, Report
from devstack.oracle.verify.recount import Recount, epoch_ms
from devstack.oracle.verify.rows import ChainWalk, Row, footer_facts, read_object, whole

MINUTE = 60_000
T0 = 1_700_000_040_000
EVENT = Event("shop", "shop.sale.v1", 1, "id", "at", "epoch_ms", 20_000, 2 * MINUTE, 60 * MINUTE)
TOPIC = "raw.shop.sale.v1"


def record(offset: int, value: bytes | None = b"{}") -> LogRecord:
    return LogRecord(offset, T0 + offset, b"k", value, [("h", b"1")])


def landed(records: list[LogRecord], start: int) -> bytes:
    following = records[-1].offset + 1
    footer = describe(records, topic=TOPIC, partition=0, topic_id="ab", start=start, following=following)
    return encode(records, footer)


class Objects:
    def __init__(self, objects: dict[int, bytes]) -> None:
        self._objects = {f"landing/{TOPIC}/0/{start:020d}.parquet": body for start, body in objects.items()}

    async def keys(self, topic: str, partition: int) -> Any:
        for key in sorted(self._objects):
            yield key

    async def get(self, key: str) -> bytes:
        return self._objects[key]


class Log:
    def __init__(self, records: list[LogRecord], begin: int = 0) -> None:
        self._records, self.begin = records, begin

    async def rows(self, start: int, end: int) -> Any:
        for one in self._records:
            if start <= one.offset < end:
                yield row(one)


def row(one: LogRecord) -> Row:
    return Row(one.offset, one.timestamp, one.key, one.value, list(one.headers))


async def walked(objects: dict[int, bytes], log: Log, end: int) -> tuple[list[int], Check, Check]:
    landing, logged = Check("raw landing", TOPIC, 0), Check("raw log", TOPIC, 0)
    chain = ChainWalk(Objects(objects), TOPIC, 0, end, landing)  # pyright: ignore[reportArgumentType]
    rows = [one.offset async for one in whole(chain, log, end, logged)]  # pyright: ignore[reportArgumentType]
    return rows, landing, logged


ALL = [record(o) for o in range(9)]
CHAIN = {0: landed(ALL[:3], 0), 3: landed(ALL[3:6], 3)}


@pytest.mark.parametrize("begin", [0, 2, 3, 5, 6])
async def test_a_chain_and_the_log_it_is_of_are_one_stream(begin: int):
    rows, landing, logged = await walked(CHAIN, Log(ALL, begin), 8)
    assert rows == list(range(8))
    assert (landing.first, logged.first) == (None, None)
    assert (landing.looked_at, logged.looked_at) == (6, 8 - begin)


@pytest.mark.parametrize(
    ("objects", "log", "check", "offset", "what"),
    [
        ({0: CHAIN[0], 4: landed(ALL[4:6], 4)}, Log(ALL), "raw landing", 3, "a gap"),
        ({0: CHAIN[0], 4: landed(ALL[4:6], 4)}, Log(ALL), "raw log", 3, "in the log, and not landed"),
        ({0: CHAIN[0], 2: landed(ALL[2:6], 2)}, Log(ALL), "raw landing", 2, "an overlap"),
        ({0: CHAIN[0], 3: CHAIN[3][:-9]}, Log(ALL), "raw landing", 3, "cannot be read"),
        (CHAIN, Log([*ALL[:4], record(4, b"other"), *ALL[5:]]), "raw log", 4, "other bytes"),
        (CHAIN, Log([*ALL[:4], *ALL[5:]]), "raw log", 4, "not in the log"),
        (CHAIN, Log(ALL, 7), "raw log", 6, "neither landed nor in the log"),
    ],
)
async def test_the_first_that_does_not_fit_is_named(
    objects: dict[int, bytes], log: Log, check: str, offset: int, what: str
):
    _, landing, logged = await walked(objects, log, 9)
    first = {"raw landing": landing, "raw log": logged}[check].first
    assert first is not None
    assert first.offset == offset
    assert what in first.what


def test_every_number_of_a_footer_is_one_of_its_rows():
    footer, rows = read_object(CHAIN[3])
    assert all(expected == found for _, expected, found in footer_facts(TOPIC, 0, 3, footer, rows))
    wrong = {name for name, expected, found in footer_facts(TOPIC, 0, 3, footer, rows[:-1]) if expected != found}
    assert wrong == {"count", "first and last", "minutes", "crc", "fingerprint"}
    assert {n for n, a, b in footer_facts(TOPIC, 1, 2, footer, rows) if a != b} == {"topic"}


def valid(recount: Recount, src: int, event_id: str, ts: int, at: int) -> None:
    recount.add(src, ts, "valid", "", f'{{"id":"{event_id}","at":{at}}}'.encode())


def test_outcomes_are_counted_by_the_contracts_rules_and_compared_minute_by_minute():
    recount = Recount(EVENT)
    valid(recount, 0, "a", T0, T0)
    valid(recount, 1, "a", T0 + 1, T0)
    valid(recount, 2, "b", T0 + 2, T0 - 20_000)
    valid(recount, 3, "c", T0 + 3, T0 - 19_999)
    recount.add(4, T0 + 4, "quarantined", "rule", b"?")
    valid(recount, 5, "a", T0 + 3 * MINUTE, T0 + 3 * MINUTE)  # forgotten
    stored: dict[int, dict[str, Any]] = {
        T0: {"valid": 4, "counted": 2, "duplicate": 1, "late": 1, "quarantined": {"rule": 1}, "undecodable": {}},
        T0 + 3 * MINUTE: {"valid": 1, "counted": 1, "position": 5},
    }
    check = Check("ledger", TOPIC, 0)
    recount.compare(stored, check)
    assert (check.first, check.looked_at, recount.watermark) == (None, 2, T0 + 3 * MINUTE)
    stored[T0 + 3 * MINUTE]["counted"] = 2
    recount.compare(stored, check)
    assert check.first is not None
    assert check.first.offset == 5
    del stored[T0 + 3 * MINUTE]
    missing = Check("ledger", TOPIC, 0)
    recount.compare(stored, missing)
    assert missing.misfits == 1


@pytest.mark.parametrize(
    ("value", "form", "expected"),
    [
        (T0, "epoch_ms", T0),
        (T0 // 1000, "epoch_s", T0),
        ("2023-11-14T22:14:00.0009Z", "date-time", T0),
        ("2023-11-14T23:14:00+01:00", "date-time", T0),
    ],
)
def test_event_times_are_read_to_the_millisecond(value: Any, form: str, expected: int):
    assert epoch_ms(value, form) == expected


def shown(show: Any, *arguments: Any) -> str:
    console = Console(file=io.StringIO(), width=300, highlight=False)
    show(*(console if one is Console else one for one in arguments))
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_people_see_where_it_does_not_balance():
    totals = {"received": 1200, "landed": 1200, "judged": 1199, "valid": 1199, "quarantined": {}, "undecodable": {},
              "counted": 1199, "duplicate": 0, "late": 0, "balanced": False}  # fmt: skip
    minute = totals | {"minute": "2023-11-14T22:14:00.000Z", "closed": True}
    partition = {"partition": 3, "totals": totals, "minutes": [minute], "in_flight": None}
    problem = {"partition": 3, "problem": "counting stands", "age_s": 75.2, "kind": "counting"}
    event = {"event": "shop.sale.v1", "totals": totals, "problems": [problem], "partitions": [partition]}
    answer = {"domain": "shop", "balanced": False, "away": ["log: away"], "totals": totals, "events": [event]}
    text = shown(show_ledger, answer, Console, datetime(2023, 11, 14, 22, 20, tzinfo=UTC))
    for part in ("NO", "1,200", "6 min ago", "counting stands, for 0:01:15", "log: away", "ledger verify"):
        assert part in text


def test_people_see_the_first_misfit_of_a_check():
    check = Check("verdicts", TOPIC, 0)
    check.misfit(7, "a raw record without a verdict", "one accepted verdict", "none")
    check.misfit(8, "another", 1, 2)
    text = shown(show_report, Report("shop", [check]), Console)
    assert f"verdicts: {TOPIC}/0/7: a raw record without a verdict" in text
    assert "another" not in text


def test_people_see_what_is_not_yet():
    counting = {"state": "pending", "windows": []}
    stages = {"landing": {"state": "pending", "object": None}, "judging": {"state": "pending", "warnings": []}}
    receipt = {"topic": TOPIC, "partition": 0, "offset": 4, "appended": None, "counting": counting} | stages
    assert shown(show_receipt, receipt, Console).count("not yet") == 3
