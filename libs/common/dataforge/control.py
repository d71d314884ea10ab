"""What people and workers decide about topics, on the topic `control.v1`: pauses and resumes. Pure.

The log is the state: whoever folds it from its beginning knows what stands still (docs/adr/0009-pauses-in-the-log.md).
"""

from typing import Any

import msgspec

from dataforge.alerts import Alert

TOPIC = "control.v1"
"""One partition, kept for ever: a few records for each incident."""


class Paused(msgspec.Struct, frozen=True, kw_only=True, tag="paused"):
    """Nothing more of this raw topic is judged until somebody resumes it."""

    topic: str
    partition: int
    """Where it was noticed. All of the topic pauses."""
    offset: int
    """Raw offset of the first record held back there."""
    seen: int
    """Control offset up to which the writer had read: a resume beyond that was not known to it."""
    at_ms: int
    message: str
    """Why, in a sentence with its numbers."""
    details: dict[str, Any] = {}


class Resumed(msgspec.Struct, frozen=True, kw_only=True, tag="resumed"):
    """Judging goes on, and what is measured begins anew."""

    topic: str
    at_ms: int
    through: dict[int, int] = {}
    """Partition -> raw offset: records below it are let through whatever becomes of them."""


def alert_of(pause: Paused) -> Alert:
    """The same for everybody who knows the pause, so that repeats are seen as such."""
    return Alert(
        kind="topic_paused",
        severity="critical",
        at_ms=pause.at_ms,
        message=f"{pause.topic} is paused: {pause.message}",
        what_to_do="look at what comes in (docs/runbooks/paused_topic.md), mend what writes it, or the contract; then "
        f"`dataforge resume {pause.topic}`, with --through to let through what is there",
        topic=pause.topic,
        details={"partition": pause.partition, "offset": pause.offset, **pause.details},
    )


Command = Paused | Resumed
_decoder = msgspec.json.Decoder(Command)


def encode(command: Command) -> bytes:
    return msgspec.json.encode(command)


def decode(value: bytes) -> Command:
    """*Raises* `msgspec.DecodeError` where it is none."""
    return _decoder.decode(value)


class Lift(msgspec.Struct, frozen=True):
    """A topic's newest resume. No two are equal."""

    offset: int
    """Of the control record; -1: it never was resumed."""
    through: dict[int, int]


NEVER = Lift(-1, {})


class Pauses:
    """The fold: fed every command in the order of the log."""

    def __init__(self) -> None:
        self.paused: dict[str, Paused] = {}
        """Topic -> the first pause since it was last resumed."""
        self.lifts: dict[str, Lift] = {}

    def apply(self, offset: int, command: Command) -> None:
        """A pause by a writer that did not know of the newest resume is void: it was decided on old measures."""
        topic = command.topic
        if isinstance(command, Resumed):
            self.paused.pop(topic, None)
            self.lifts[topic] = Lift(offset, command.through)
        elif command.seen > self.lifts.get(topic, NEVER).offset:
            self.paused.setdefault(topic, command)
