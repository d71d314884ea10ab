"""What a proxy can be told to do to the traffic that passes, and the requests that tell it."""

from typing import Literal

import msgspec

HTTP_REASONS = {500: "InternalError", 503: "SlowDown"}


class Refuse(msgspec.Struct, frozen=True, tag=True):
    """New connections are reset at once; those that are open go on."""


class BlackHole(msgspec.Struct, frozen=True, tag=True):
    """Connections are taken and nothing passes. What was sent meanwhile arrives afterwards, as TCP has it."""


class Delay(msgspec.Struct, frozen=True, tag=True):
    """Each chunk waits, in both directions: latency plus up to `jitter_s`."""

    latency_s: float
    jitter_s: float = 0.0


class Throttle(msgspec.Struct, frozen=True, tag=True):
    """Bandwidth of each connection in each direction."""

    bytes_per_s: float


class Cut(msgspec.Struct, frozen=True, tag=True):
    """A share of the chunks, and the first one, is not passed on: both ends are reset instead.

    With `answers_only` the request has been done and only its answer is lost: the client cannot know.
    """

    share: float
    answers_only: bool = False


class Answer(msgspec.Struct, frozen=True, tag=True):
    """A share of HTTP requests, and the first one, is answered with an error of S3, and never reaches the store."""

    share: float
    status: Literal[500, 503] = 503


Condition = Refuse | BlackHole | Delay | Throttle | Cut | Answer


class Impose(msgspec.Struct, frozen=True, tag=True):
    """Answered by the condition's number."""

    proxy: str
    condition: Condition


class Look(msgspec.Struct, frozen=True, tag=True):
    """Answered as `Lift`, of what the condition did so far."""

    proxy: str
    number: int


class Lift(msgspec.Struct, frozen=True, tag=True):
    """Answered by what the condition did: effect -> count. A number that is not in force did nothing."""

    proxy: str
    number: int


class DropAll(msgspec.Struct, frozen=True, tag=True):
    """Reset every open connection now; answered by how many there were (`connections`)."""

    proxy: str


class Listen(msgspec.Struct, frozen=True):
    """One proxy: its own port, and the name of the server's port in the stack's state."""

    port: int
    upstream: str


class Setup(msgspec.Struct, frozen=True):
    """What the process is started with."""

    state: str
    """The stack's state file, where the servers' ports are looked up: they are known only once it runs."""
    seed: int
    listen: dict[str, Listen]


Request = Impose | Look | Lift | DropAll
Reply = dict[str, int]
