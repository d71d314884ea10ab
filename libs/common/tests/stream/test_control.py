"""Pauses and resumes: the fold of the control topic, and the view that processes share, in memory and on Kafka."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge.alerts import current
from dataforge.control import TOPIC, Command, Paused, Pauses, Resumed, alert_of, decode, encode
from dataforge.errors import Fatal, Transient
from dataforge.stream.control import CONTROL, Control, ControlTopic
from dataforge.stream.producer import BatchProducer
from dataforge.stream.records import Record, TopicPartition
from dataforge.stream.topics import TopicSpec, ensure_topics
from dataforge.testing.log import MemoryLog


def paused(topic: str = "raw.a", seen: int = 0, at_ms: int = 1) -> Paused:
    return Paused(topic=topic, partition=0, offset=7, seen=seen, at_ms=at_ms, message="too bad")


def resumed(topic: str = "raw.a", through: dict[int, int] | None = None) -> Resumed:
    return Resumed(topic=topic, at_ms=2, through=through or {})


topics = st.sampled_from(["raw.a", "raw.b"])
commands = st.builds(paused, topics, st.integers(0, 6), st.integers(0, 9)) | st.builds(
    resumed, topics, st.dictionaries(st.integers(0, 3), st.integers(0, 9), max_size=2)
)


@given(commands)
def test_what_is_written_is_read_back(command: Command) -> None:
    assert decode(encode(command)) == command


@given(st.lists(commands, max_size=8))
def test_a_topic_is_paused_where_a_pause_knew_of_its_newest_resume(log: list[Command]) -> None:
    pauses = Pauses()
    for offset, command in enumerate(log):
        pauses.apply(offset, command)
    for topic in ("raw.a", "raw.b"):
        lifts = [n for n, c in enumerate(log) if isinstance(c, Resumed) and c.topic == topic]
        newest = lifts[-1] if lifts else -1
        holding = [c for c in log[newest + 1 :] if isinstance(c, Paused) and c.topic == topic and c.seen > newest]
        assert pauses.paused.get(topic) == (holding[0] if holding else None)


def test_everybody_who_knows_a_pause_raises_the_same_alert() -> None:
    alert = alert_of(paused())
    assert alert_of(decode(encode(paused()))) == alert  # pyright: ignore[reportArgumentType]
    assert current([alert, alert.cleared(5, "resumed"), alert])[alert.key].state == "cleared"


Views = Callable[[], Control]


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.integration)])
async def views(request: pytest.FixtureRequest) -> AsyncIterator[Views]:
    """Makes views of one control topic, each as another process has it."""
    if request.param == "memory":
        log = MemoryLog()
        yield lambda: Control(log, log.read_from)
        return
    kafka: str = request.getfixturevalue("kafka")
    await ensure_topics(kafka, [TopicSpec(TOPIC, 1, retention_ms=-1)])
    producer, topic = BatchProducer(kafka), ControlTopic(kafka)
    await producer.start()
    everything = Control(producer, topic.read_from)
    await topic.open(everything)
    try:
        yield lambda: Control(producer, topic.read_from)
    finally:
        await topic.close()
        await producer.stop()


async def test_what_one_process_appends_the_others_read(
    views: Callable[[], Control], fresh: Callable[[str], str]
) -> None:
    """Other tests may have written there before: names are fresh."""
    name, one, other = fresh("raw.a"), views(), views()
    await other.refresh()
    await one.refresh()
    pause = paused(name, one.next)
    await one.append(pause)
    assert (one.pause_of(name), other.pause_of(name)) == (pause, None)
    await other.refresh()
    assert other.pause_of(name) == pause
    assert pause in other.paused
    before = other.lift_of(name)
    await other.append(resumed(name, {0: 3}))
    assert other.lift_of(name) != before
    assert other.lift_of(name).through == {0: 3}
    await one.append(paused(name, pause.seen))
    assert one.pause_of(name) is None
    await one.append(paused(name, one.next))
    late = views()
    await late.refresh()
    assert late.pause_of(name) is not None
    assert late.next == one.next


async def test_a_record_that_is_no_command_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    log = MemoryLog()
    for value in (b"?", b'{"type":"erased","topic":"raw.a"}', None, encode(paused())):
        log.append(CONTROL, None, value)
    control = Control(log, log.read_from)
    await control.refresh()
    assert control.pause_of("raw.a") == paused()
    assert caplog.text.count("is no command") == 3


async def test_a_view_that_follows_goes_on_after_kafka_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataforge.stream.control.FOLLOW_S", 0.001)
    log, away = MemoryLog(), [True]

    def read_from(tp, offset):
        if away[0]:
            raise Transient("away")
        return log.read_from(tp, offset)

    control = Control(log, read_from)
    following = asyncio.create_task(control.follow())
    log.append(CONTROL, None, encode(paused()))
    await asyncio.sleep(0.01)
    assert control.pause_of("raw.a") is None
    away[0] = False
    async with asyncio.timeout(5):
        while control.pause_of("raw.a") is None:
            await asyncio.sleep(0.001)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following


async def test_following_goes_on_whatever_a_look_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataforge.stream.control.FOLLOW_S", 0)
    log, met = MemoryLog(), [Transient("away"), RuntimeError("what nobody expected")]

    async def read_from(tp: TopicPartition, offset: int) -> AsyncIterator[Sequence[Record]]:
        if met:
            raise met.pop(0)
        async for records in log.read_from(tp, offset):
            yield records

    control = Control(log, read_from)
    following = asyncio.create_task(control.follow())
    await log.send(*CONTROL, [(b"raw.a", encode(paused()), [])])
    async with asyncio.timeout(10):
        while control.pause_of("raw.a") is None:
            await asyncio.sleep(0)
    following.cancel()
    await asyncio.wait([following])
    assert not met


@pytest.mark.parametrize("resumed", [False, True])
async def test_what_is_paused_is_said_again_where_the_log_was_replaced(
    monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    monkeypatch.setattr("dataforge.stream.control.FOLLOW_S", 0)
    log = MemoryLog()
    for _ in range(3):
        await log.send(*CONTROL, [(b"raw.a", encode(paused()), [])])

    async def read_from(tp: TopicPartition, offset: int) -> AsyncIterator[Sequence[Record]]:
        if offset > len(log.records(tp)):
            raise Fatal("the log was replaced")
        async for records in log.read_from(tp, offset):
            yield records

    control = Control(log, read_from)
    await control.refresh()
    log = control._producer = MemoryLog()
    if resumed:
        await log.send(*CONTROL, [(b"raw.a", encode(Resumed(topic="raw.a", at_ms=5)), [])])
    following = asyncio.create_task(control.follow())
    async with asyncio.timeout(10):
        while control.next > 2 or not log.records(CONTROL):
            assert resumed or control.pause_of("raw.a") is not None
            await asyncio.sleep(0)
    following.cancel()
    await asyncio.wait([following])
    assert (control.pause_of("raw.a") is None) == resumed
    fresh = Control(log, read_from)
    await fresh.refresh()
    assert (fresh.pause_of("raw.a") is None) == resumed
