"""Faults of the network and of the object store, brought about in the proxies between services and servers."""

import random

from devstack.chaos.fault import Evidence, NotInForce, Stage, until_met
from devstack.chaos.proxy.conditions import Answer, BlackHole, Condition, Cut, Delay, Refuse, Throttle

_PROGRAMS = {"kafka": "kafka", "valkey": "valkey", "s3": "s3proxy"}


class Dropped:
    """Every open connection to a server is reset, once."""

    kind = "net_drop"

    def __init__(self, proxy: str) -> None:
        self.victim, self._proxy = _PROGRAMS[proxy], proxy
        self.evidence: Evidence = {}

    async def inject(self, stage: Stage) -> None:
        self.evidence["connections"] = await stage.proxies[self._proxy].drop_all()
        if not self.evidence["connections"]:
            raise NotInForce(f"nobody is connected to {self.victim}")

    async def heal(self, stage: Stage) -> None:
        """Nothing is left to be healed."""


class Disturbed:
    """A condition on all traffic to a server, until it is lifted, and has met some."""

    def __init__(self, kind: str, proxy: str, condition: Condition) -> None:
        self.kind, self.victim, self._proxy, self._condition = kind, _PROGRAMS[proxy], proxy, condition
        self.evidence: Evidence = {"condition": repr(condition)}
        self._number: int | None = None

    async def inject(self, stage: Stage) -> None:
        proxy = stage.proxies[self._proxy]
        self._number = await proxy.impose(self._condition)
        if isinstance(self._condition, Refuse):  # who is connected would not notice
            self.evidence["connections"] = await proxy.drop_all()

    async def heal(self, stage: Stage) -> None:
        number, self._number = self._number, None
        if number is None:
            return
        proxy, cut = stage.proxies[self._proxy], self.evidence.get("connections", 0)
        try:
            if not cut:
                await until_met(lambda: proxy.look(number))
        finally:
            effects = await proxy.lift(number)
            self.evidence |= effects | {"effects": sum(effects.values()) + cut}


def draw_drop(chosen: random.Random) -> Dropped:
    return Dropped(_server(chosen))


def draw_refuse(chosen: random.Random) -> Disturbed:
    return Disturbed("net_refuse", _server(chosen), Refuse())


def draw_slow(chosen: random.Random) -> Disturbed:
    """Up to half a second a chunk and direction: the requests of a partition follow each other."""
    return Disturbed("net_slow", _server(chosen), Delay(chosen.uniform(0.02, 0.25), chosen.uniform(0, 0.25)))


def draw_throttle(chosen: random.Random) -> Disturbed:
    return Disturbed("net_throttle", _server(chosen), Throttle(chosen.uniform(100_000, 1_000_000)))


def draw_black_hole(chosen: random.Random) -> Disturbed:
    return Disturbed("net_black_hole", _server(chosen), BlackHole())


def draw_lost_answers(chosen: random.Random) -> Disturbed:
    return Disturbed("net_lost_answers", _server(chosen), Cut(chosen.uniform(0.02, 0.2), answers_only=True))


def draw_s3_errors(chosen: random.Random) -> Disturbed:
    return Disturbed("s3_errors", "s3", Answer(chosen.uniform(0.3, 1.0), chosen.choice((500, 503))))


def draw_s3_timeouts(_: random.Random) -> Disturbed:
    return Disturbed("s3_timeouts", "s3", BlackHole())


def draw_s3_slow(chosen: random.Random) -> Disturbed:
    return Disturbed("s3_slow", "s3", Delay(chosen.uniform(0.2, 2.0), chosen.uniform(0, 1.0)))


def draw_s3_dropped(chosen: random.Random) -> Disturbed:
    """In the middle of an upload, or after it and before its answer."""
    return Disturbed("s3_dropped", "s3", Cut(chosen.uniform(0.2, 0.6)))


def _server(chosen: random.Random) -> str:
    return chosen.choice(("kafka", "valkey", "s3"))
