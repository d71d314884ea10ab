"""Receipts beside the real fold: over generated logs, each says of each record what the aggregator made of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge.contracts.model import OTHER, Domain, EventType
from dataforge.kpi.plan import plan
from dataforge.ledger.observe import Observer
from dataforge.state.memory import MemoryState
from dataforge.state.model import Loaded, split_window_key
from dataforge.storage.chain import Chain
from dataforge.storage.history import LandedHistory
from dataforge.storage.landing_file import describe, encode
from dataforge.storage.memory import MemoryStore
from dataforge.stream.judged import Acceptance, unpack
from dataforge.stream.origin import Mark
from dataforge.stream.records import LogRecord, Record, RecordBatch, TopicPartition
from dataforge.testing.log import MemoryLog

from aggregator.compile import compile_event
from aggregator.partition import AggregatorPartition, Pace
from aggregator.snapshot import restore
from query_api import schemas
from query_api.app import build
from query_api.receipt.find import Finder, NoSuchRecord, Receipt
from query_api.receipt.past import Past
from query_api.receipt.refold import Seen, firsts, may_hold
from query_api.settings import ApiSettings
from sale_events import MINUTE, SECOND, START, event_type, judged, numbered, sale

HORIZON = 2 * MINUTE
AT_MS = 1_800_000_000_000

sales = st.builds(
    sale,
    st.integers(0, 12).map(str),
    st.integers(-90, 30).map(lambda s: START + s * SECOND),
    shop=st.integers(1, 4),
    product=st.integers(1, 3),
    amount=st.integers(0, 999).map(lambda c: c / 100),
)


@st.composite
def logs(draw: st.DrawFn) -> list[LogRecord]:
    """A judged partition over several dedupe horizons: ids that come again, sparse offsets, a zombie's repeats."""
    records: list[LogRecord] = []
    src, ts = 0, START
    for found in draw(st.lists(sales | st.none(), min_size=1, max_size=40)):
        ts += draw(st.sampled_from([0, 1, 5, 40, 70])) * SECOND
        base, src = src, src + draw(st.sampled_from([0, 0, 0, 2]))
        event = None if found is None else found | {"at": found["at"] - START + ts}
        records.append(judged(src, ts, event, base=base, reason="" if found else "not_json"))
        src += 1
        if draw(st.integers(0, 9)) == 0:
            records += records[-draw(st.integers(1, len(records))) :]
    return numbered(records)


class Platform:
    """One partition, its judged log folded by the real aggregator in commits of `commit` records."""

    def __init__(self, event: EventType) -> None:
        self.event, self.domain = event, Domain("shop", 1, (event,), {}, 1)
        self.log, self.store, self.state = MemoryLog(), MemoryStore(), MemoryState()
        self.raw = TopicPartition(event.contract.raw_topic, 0)
        self.judged = TopicPartition(event.contract.judged_topic, 0)
        past = Past(self.log, LandedHistory(self.store))
        observer = Observer(self.state, self.store, None)
        self.finder = Finder(self.domain, event, plan(event), self.state, observer, past)

    async def write(self, records: Sequence[LogRecord], commit: int = 1, fold: int | None = None) -> None:
        due = 0
        for record in records:
            self.log.append(self.judged, record.key, record.value, record.headers)
            src = unpack(record.headers).src
            if src >= due:
                self.log.skip(self.raw, src - due)
                self.log.append(self.raw, None, record.value)
                due = src + 1
        worker = AggregatorPartition(
            self.judged, compile_event(self.event, 1), self.state, lambda: 0.0, Pace(0.0), lambda: AT_MS
        )
        await worker.open()
        upto = records[: len(records) if fold is None else fold]
        for at in range(0, len(upto), commit):
            part = upto[at : at + commit]
            await worker.take(RecordBatch(*self.judged, at, at + len(part), part))
        await worker.close()


def truth(event: EventType, records: Sequence[LogRecord]) -> dict[int, str]:
    """Raw offset -> what the real fold made of it."""
    fold, _ = restore(compile_event(event, 1), Loaded({}, {}, {}, {}, {}))
    acceptance, found = Acceptance(), {}
    for record in records:
        stamp = unpack(record.headers)
        accepted = acceptance.accepts(stamp.base, stamp.src)
        before = Counter(fold.outcomes)
        fold.fold([record], record.offset + 1)
        if accepted:
            found[unpack(record.headers).src] = next(iter(fold.outcomes - before), "none")
    return found


def short(**changes: int) -> EventType:
    return replace(event_type(), dedupe_ms=HORIZON, **changes)


@settings(max_examples=80)
@given(logs(), st.integers(1, 9))
async def test_each_receipt_is_what_the_fold_made_of_the_record(log: list[LogRecord], commit: int):
    event = short()
    platform = Platform(event)
    await platform.write(log, commit)
    found: dict[int, Receipt] = {}
    for offset in truth(event, log):
        found[offset] = await platform.finder.receipt(0, offset)
    assert {offset: receipt.counting for offset, receipt in found.items()} == truth(event, log)
    for receipt in found.values():
        if receipt.duplicate_of is not None:
            original = found[receipt.duplicate_of]
            assert (original.event_id, original.counting != "duplicate") == (receipt.event_id, True)
        if receipt.counting == "late":
            assert receipt.late_by_ms is not None
            assert receipt.late_by_ms >= 0
        if receipt.counting == "counted":
            assert receipt.visible_since_ms == AT_MS


@settings(max_examples=30)
@given(logs(), st.integers(1, 3))
async def test_windows_of_all_counted_records_are_the_windows_that_are_stored(log: list[LogRecord], cap: int):
    event = short(label_cap=cap)
    platform = Platform(event)
    await platform.write(log, 7)
    told: Counter[tuple[str, str]] = Counter()
    sizes = set()
    for offset in truth(event, log):
        for window in (await platform.finder.receipt(0, offset)).windows:
            told[f"{window.table}|{window.size_ms}|{window.start_ms}", window.key] += 1
            sizes.add(window.size_ms)
    loaded = await platform.state.load(event.contract.name, 0, 2**50)
    stored = {(key, label) for key, rows in loaded.windows.items() for label in rows}
    assert set(told) == stored
    # `sales` is in a table of its own dimension set, with a count of all events.
    for (name, by), view in plan(event).views.items():
        if name == "sales":
            for (key, label), times in told.items():
                if split_window_key(key)[0] == view.table.id:
                    assert loaded.windows[key][label][view.columns[0]] == times, by


@settings(max_examples=30)
@given(logs(), st.data())
async def test_stages_that_are_not_there_yet_say_so(log: list[LogRecord], data: st.DataObject):
    event = short()
    platform = Platform(event)
    folded = data.draw(st.integers(0, len(log)))
    await platform.write(log, 3, fold=folded)
    counted = truth(event, log[:folded])
    for offset, outcome in truth(event, log).items():
        receipt = await platform.finder.receipt(0, offset)
        assert (receipt.landing, receipt.judging) == ("pending", "judged")
        assert receipt.counting == (outcome if offset in counted else "pending")
    end = platform.log.append(platform.raw, None, b"{}")
    receipt = await platform.finder.receipt(0, end)
    assert (receipt.judging, receipt.counting, receipt.position) == ("pending", "pending", None)
    with pytest.raises(NoSuchRecord, match=f"ends at {end + 1}"):
        await platform.finder.receipt(0, end + 1)


async def landed(platform: Platform, tp: TopicPartition, cut: int) -> None:
    """The partition's log as a chain of objects of `cut` records."""
    records, start = platform.log.history(tp), 0
    acceptance, last = Acceptance(), None
    for at in range(0, len(records), cut):
        part: Sequence[Record] = records[at : at + cut]
        judged_log = tp == platform.judged
        for _, stamp in acceptance.accepted(part) if judged_log else ():
            last = Mark(stamp.src, stamp.ts, stamp.crc)
        footer = describe(
            part, topic=tp.topic, partition=0, topic_id="ab", start=start, following=part[-1].offset + 1,
            accepted_next=acceptance.next if judged_log else None, last_src=last,
        )  # fmt: skip
        await platform.store.put_if_absent(Chain(platform.store, *tp).key(start), encode(part, footer))
        start = part[-1].offset + 1


@settings(max_examples=30)
@given(logs(), st.integers(1, 5), st.data())
async def test_what_the_log_no_longer_holds_is_read_from_the_chain(log: list[LogRecord], cut: int, data: st.DataObject):
    event = short()
    platform = Platform(event)
    await platform.write(log, 3)
    for tp in (platform.raw, platform.judged):
        await landed(platform, tp, cut)
        platform.log.truncate(tp, data.draw(st.integers(0, platform.log.end(tp))))
    chain = Chain(platform.store, *platform.raw)
    for offset, outcome in truth(event, log).items():
        receipt = await platform.finder.receipt(0, offset)
        assert (receipt.counting, receipt.landing) == (outcome, "landed")
        [(footer, _)] = [one async for one in chain.read(offset) if one[0].start <= offset < one[0].next]
        assert receipt.object == chain.key(footer.start)


async def test_of_what_is_older_than_the_ledger_keeps_the_verdict_is_still_found():
    event = replace(short(), ttl_ms=5 * MINUTE)
    platform = Platform(event)
    log = numbered([judged(n, START + n * MINUTE, sale(str(n), START + n * MINUTE)) for n in range(20)])
    await platform.write(log)
    await landed(platform, platform.judged, 3)
    receipts = [await platform.finder.receipt(0, offset) for offset in range(20)]
    assert [r.position for r in receipts] == list(range(20))
    assert {r.verdict for r in receipts} == {"valid"}
    kinds = [r.counting for r in receipts]
    assert kinds[:10] == ["unknown"] * 10
    assert kinds[-3:] == ["counted"] * 3
    assert kinds == sorted(kinds, reverse=True)


async def test_offsets_without_a_record_are_no_records():
    platform = Platform(short())
    await platform.write(numbered([judged(3, START, sale("a", START), base=0)]))
    with pytest.raises(NoSuchRecord, match="marks"):
        await platform.finder.receipt(0, 1)


async def test_an_event_id_is_found_wherever_it_came_and_however_it_was_written():
    platform = Platform(short())
    log = [judged(n, START + n * MINUTE, sale("café" if n % 3 == 0 else str(n), START)) for n in range(7)]
    await platform.write(numbered(log))  # json writes é as an escape
    places, [searched] = await platform.finder.search("café", 0)
    assert places == [(0, 0), (0, 3), (0, 6)]
    assert (searched.records, searched.from_ms, searched.to_ms) == (7, START, START + 6 * MINUTE)
    places, [searched] = await platform.finder.search("café", START + 2 * MINUTE)
    assert (places, searched.records) == ([(0, 3), (0, 6)], 5)


SEEN_AGAIN = [judged(n, START + n * 2 * MINUTE, sale("a", START + n * 2 * MINUTE)) for n in range(5)]
"""Each within the horizon of the one before it, and two further on no more."""
DUPLICATE_AHEAD = [
    judged(0, START, sale("a", START)),
    judged(1, START + 30 * SECOND, sale("a", START + 25 * SECOND)),
    judged(2, START + 31 * SECOND, sale("b", START + SECOND)),
]
"""Were the duplicate's time the watermark, the last one would be late."""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (SEEN_AGAIN, ["counted", "duplicate", "counted", "duplicate", "counted"]),
        (DUPLICATE_AHEAD, ["counted", "duplicate", "counted"]),
    ],
)
async def test_what_a_duplicate_does_not_do(log: list[LogRecord], expected: list[str]):
    event, log = short(), numbered(log)
    platform = Platform(event)
    await platform.write(log)
    assert list(truth(event, log).values()) == expected
    assert [(await platform.finder.receipt(0, offset)).counting for offset in range(len(log))] == expected


async def test_of_many_duplicates_ahead_none_is_the_watermark():
    ahead = [judged(1 + n, START + 30 * SECOND, sale("a", START + (n + 1) * SECOND)) for n in range(29)]
    log = numbered([DUPLICATE_AHEAD[0], *ahead, judged(30, START + 31 * SECOND, sale("b", START + SECOND))])
    platform = Platform(short())
    await platform.write(log)
    receipt = await platform.finder.receipt(0, 30)
    assert (receipt.counting, receipt.watermark_ms) == ("counted", START)


def test_an_id_counts_again_once_it_is_forgotten_and_not_by_being_seen_again_meanwhile():
    seen = [Seen(n, n, n * MINUTE) for n in range(8)]
    assert [one.position for one in firsts(seen, HORIZON)] == [0, 3, 6]


@pytest.mark.parametrize(
    ("value", "held"), [(b'{"id":"a.b"}', True), (b'{"id":"axb"}', False), (b'{"id":"\\u0061"}', True)]
)
def test_the_quick_test_is_only_ever_wrong_towards_decoding(value: bytes, held: bool):
    assert may_hold(["a.b"], numeric=False)(value) is held
    assert may_hold(["1"], numeric=True)(b"{}") is True


async def test_past_a_cap_of_labels_the_window_is_the_shared_one():
    event = replace(short(), label_cap=1)
    platform = Platform(event)
    await platform.write(numbered([judged(n, START, sale(str(n), START, shop=n)) for n in range(3)]), 3)
    labels = {w.label for w in (await platform.finder.receipt(0, 2)).windows if w.by == ("shop",)}
    assert labels == {(OTHER,)}
    assert {w.label for w in (await platform.finder.receipt(0, 0)).windows if w.by == ("shop",)} == {("0",)}


async def test_over_http_a_receipt_is_typed_and_so_is_what_is_not_there(monkeypatch: pytest.MonkeyPatch):
    platform = Platform(short())
    log = [
        judged(0, START, sale("a", START)),
        judged(1, START, sale("a", START)),
        judged(2, START, None, reason="not_json"),
    ]
    await platform.write(numbered(log))
    observer, past = Observer(platform.state, platform.store, None), Past(platform.log, None)
    app = build(ApiSettings(), [platform.domain], platform.state, observer, None, past)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as api:

        async def receipt(offset: int) -> schemas.ReceiptAnswer:
            answer = await api.get(f"/receipts/{platform.raw.topic}/0/{offset}")
            assert answer.status_code == 200, answer.text
            return schemas.ReceiptAnswer.model_validate_json(answer.content)

        first, second, third = [await receipt(offset) for offset in range(3)]
        assert (first.counting.state, first.counting.event_id) == ("counted", "a")
        assert first.counting.visible_since == "2027-01-15T08:00:00.000Z"
        assert (second.counting.state, second.counting.duplicate_of) == ("duplicate", 0)
        assert (third.judging.verdict, third.judging.reason, third.counting.state) == (
            "undecodable",
            "not_json",
            "none",
        )
        refused = await api.get("/receipts", params={"event_id": "a", "since": "25h"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad_parameter")
        monkeypatch.setattr("query_api.receipts._FURTHEST_MS", 2**53)  # the log's time is not today's
        found = schemas.SearchAnswer.model_validate_json(
            (await api.get("/receipts", params={"event_id": "a", "since": str(START)})).content
        )
        assert [r.offset for r in found.receipts] == [0, 1]
        assert [s.records for s in found.searched] == [3]
        for path, code in (
            (f"{platform.raw.topic}/0/99", "unknown_offset"),
            (f"{platform.raw.topic}/7/0", "unknown_partition"),
            ("raw.bank.payment.v1/0/0", "unknown_topic"),
        ):
            answer = await api.get(f"/receipts/{path}")
            assert answer.status_code == 404
            assert schemas.Problem.model_validate_json(answer.content).error.code == code
        shown = (await api.get("/openapi.json")).json()["paths"]["/receipts/{topic}/{partition}/{offset}"]["get"]
        schemas.ReceiptAnswer.model_validate(shown["responses"]["200"]["content"]["application/json"]["example"])
