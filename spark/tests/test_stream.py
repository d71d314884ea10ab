"""The judged log to bronze and silver as it grows: a real Kafka, a real store, stopped, killed, overtaken, replaced."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from pyspark.sql import SparkSession

from dataforge.contracts.model import Domain
from dataforge.errors import Fatal, Transient
from dataforge.stream.records import LogRecord

from following import Following, logs_of
from lake import commit
from lake.failures import Refused
from lake.jobs import bronze
from lake.log import JudgedLog
from lake.settings import LakeSettings
from lake.status import ends, status
from orders import PARTITIONS, Sent, drawn, judged, parts
from worlds import ALL, bronze_expected, bronze_rows, demand


@pytest.fixture
def follow(
    spark: SparkSession, lake_settings: LakeSettings, small_domain: Domain, kafka: str
) -> Callable[[int], Following]:
    def made(rows: int) -> Following:
        world = Following(spark, lake_settings, small_domain, kafka, rows)
        world.topic.create()
        return world

    return made


def dense(part: Sequence[Sent]) -> list[Sent]:
    """As a raw log is without transactions: each offset is a record's."""
    return [one._replace(offset=n) for n, one in enumerate(part)]


def cut(logs: Sequence[Sequence[LogRecord]], at: Sequence[int]) -> tuple[list[Any], list[Any]]:
    pairs = list(zip(logs, at, strict=True))
    return [log[:end] for log, end in pairs], [log[end:] for log, end in pairs]


def test_a_stream_that_is_stopped_and_goes_on_brings_what_the_batch_jobs_would(
    follow: Callable[[int], Following], lake_settings: LakeSettings, small_domain: Domain
):
    world, sent = follow(90), drawn(21, 500)
    logs = logs_of(sent)
    first, rest = cut(logs, [len(log) // 3 for log in logs])
    world.topic.append(first)
    assert world.follow() > 1
    world.silver.run(world.event)
    world.topic.append(rest)
    again = follow(ALL)  # another process would know no more than this
    assert again.follow() == 1
    again.silver.run(world.event)
    again.gold.run(world.event)
    demand(world, sent)
    before = world.snapshots()
    assert again.follow() == 0
    assert world.snapshots() == before, "it has added something"
    here = lake_settings.model_copy(update={"kafka": world.topic.kafka})
    rows = {row.layer: row for row in status(world.spark, [small_domain], lambda *of: ends(here, *of))}
    assert {layer: row.lag for layer, row in rows.items()} == {"bronze": 0, "silver": 0, "gold": 0}
    assert rows["bronze"].rows_per_s > 0


def test_what_judges_write_when_nothing_is_killed_is_read_once(
    follow: Callable[[int], Following], monkeypatch: pytest.MonkeyPatch
):
    def folded(*_: object) -> None:
        raise AssertionError("read twice")

    monkeypatch.setattr(bronze, "folded_in_order", folded)
    world, sent = follow(90), [dense(part) for part in parts(drawn(30, 300))]
    world.topic.append([judged(part) for part in sent])
    assert world.follow() > 1
    assert bronze_rows(world.spark, world.event) == bronze_expected([one for part in sent for one in part])


def test_a_repeat_and_a_hole_that_the_last_record_does_not_show_are_folded(follow: Callable[[int], Following]):
    world, sent = follow(ALL), dense(parts(drawn(31, 60))[0])
    hole = sent[:20] + sent[21:]  # an offset that a transaction of the raw log took
    log = judged(hole)
    world.topic.append([log[:10] + log[9:], []])
    world.follow()
    assert any("read twice" in line for line in world.said)
    assert world.positions() == [len(sent), 0]
    assert bronze_rows(world.spark, world.event) == bronze_expected(hole)


def test_batch_jobs_and_the_stream_go_on_from_each_other_at_any_place(follow: Callable[[int], Following]):
    world, sent = follow(70), drawn(22, 400)
    logs = logs_of(sent)
    world.topic.append(logs)
    world.stream.take(world.event, PARTITIONS)
    torn = world.positions()
    world.land([log[:150] for log in logs], 47, topic_id=world.topic.id())
    assert all(at % 47 for at in torn), "it stands where an object begins, which is too easy"
    world.bronze.run(world.event, PARTITIONS)
    assert world.positions() == [150, 150]
    world.follow()
    assert world.bronze.run(world.event, PARTITIONS) == 0, "what is landed was taken again"
    world.silver.run(world.event)
    world.gold.run(world.event)
    demand(world, sent)


def test_a_stream_that_another_job_was_faster_than_goes_on_from_there(
    follow: Callable[[int], Following], monkeypatch: pytest.MonkeyPatch
):
    world, sent = follow(ALL), drawn(23, 80)
    logs = logs_of(sent)
    world.topic.append(logs)
    world.land([log[:20] for log in logs], 10, topic_id=world.topic.id())
    overwrite, raced = commit.overwrite, []

    def racing(*arguments: Any, **named: Any) -> None:
        if not raced:  # a batch job takes what is landed, after the stream has looked where to begin
            raced.append(1)
            world.bronze.run(world.event, PARTITIONS)
        overwrite(*arguments, **named)

    monkeypatch.setattr(commit, "overwrite", racing)
    with pytest.raises(Refused, match="Found conflicting files"):
        world.stream.take(world.event, PARTITIONS)
    assert world.positions() == [20, 20]
    assert world.follow() == 1
    assert bronze_rows(world.spark, world.event) == bronze_expected(sent)


@pytest.mark.parametrize("begun", [False, True])
def test_a_commit_of_another_partition_refuses_it_too(
    follow: Callable[[int], Following], monkeypatch: pytest.MonkeyPatch, begun: bool
):
    """Else its position, which is the whole table's, would take that partition back, and its rows would come twice."""
    world, sent = follow(ALL), drawn(29, 60)
    first, second = (judged(part) for part in parts(sent))
    if begun:
        world.topic.append([first[:5], []])
        world.follow()
    world.topic.append([first[5:] if begun else first, []])
    overwrite, raced = commit.overwrite, []

    def racing(*arguments: Any, **named: Any) -> None:
        if not raced:
            raced.append(1)
            world.topic.append([[], second])
            world.land([[], second], 100, topic_id=world.topic.id())
            world.bronze.run(world.event, PARTITIONS)
        overwrite(*arguments, **named)

    monkeypatch.setattr(commit, "overwrite", racing)
    with pytest.raises(Refused):
        world.stream.take(world.event, PARTITIONS)
    assert world.positions() == [5 * begun, len(second)]
    world.follow()
    assert bronze_rows(world.spark, world.event) == bronze_expected(sent)


def test_what_the_log_no_longer_holds_comes_from_its_landing_chain(follow: Callable[[int], Following]):
    world, sent = follow(100), drawn(24, 400)
    logs = logs_of(sent)
    world.topic.append(logs)
    world.stream.take(world.event, PARTITIONS)
    world.topic.cut([140, 60])
    with pytest.raises(Fatal, match=r"the log begins at 140, and nothing is landed from 50 on: what lies between is"):
        world.follow()
    world.land([log[:160] for log in logs], 47, topic_id=world.topic.id())
    world.follow()
    assert any("objects" in line for line in world.said)
    assert bronze_rows(world.spark, world.event) == bronze_expected(sent)


def test_a_log_that_was_replaced_is_refused(follow: Callable[[int], Following]):
    world, sent = follow(ALL), drawn(25, 60)
    logs = logs_of(sent)
    world.topic.append(logs)
    world.follow()
    before = world.positions()
    world.topic.recreate()
    world.topic.append([[*log, *log] for log in logs])
    with pytest.raises(Fatal, match="the topic was recreated"):
        world.follow()
    assert world.positions() == before


def test_a_log_with_holes_is_refused(follow: Callable[[int], Following]):
    """A judge writes without transactions: offsets that hold no record are somebody else's doing."""
    world, sent = follow(ALL), drawn(26, 60)
    log = judged(parts(sent)[0])
    world.topic.append_in_a_transaction(0, log[:10])
    world.topic.append_in_a_transaction(0, log[10:20])
    with pytest.raises(Fatal, match="brought 20 records where its offsets are 22"):
        world.follow()
    assert bronze_rows(world.spark, world.event) == []


def test_a_kafka_that_is_away_is_waited_for(follow: Callable[[int], Following]):
    world = follow(ALL)
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    world.stream = replace(world.stream, log=JudgedLog(world.spark, nobody))
    with pytest.raises(Transient, match="does not answer"):
        world.follow()
