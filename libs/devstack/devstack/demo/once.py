"""One demo from the first record to the report."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer

from devstack.demo.account import Account, account
from devstack.demo.lake import Judge, LakeReport, contradictions
from devstack.demo.report import Report
from devstack.demo.settle import through
from devstack.errors import StackError
from devstack.latency import Sent, percentile, watching
from devstack.model import Endpoints
from devstack.oracle.api import Api, NoAnswer
from devstack.oracle.landed import Bucket, Landing
from devstack.replay.manifest import Manifest
from devstack.replay.plan import Horizons
from devstack.replay.purchases import Purchases, read_purchases
from devstack.replay.replay import TOPIC, Options, Replayed, replay
from devstack.replay.send import Batch, make_producer

LATENCY_RATE = 1_000
WARM_UP_S = 5
MEASURED_S = 60
STALLED_S = 120.0

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""(what happens, how many) -> a function that takes how many more are done."""


@dataclass(slots=True)
class Once:
    """*Guarantees*: `run` reports on exactly what it sent; the topic must be empty before."""

    reach: Endpoints
    horizons: Horizons
    options: Options
    progress: Progress
    judge: Judge | None = None
    """The lake, where it runs too."""
    stalled_s: float = STALLED_S
    manifest: Manifest = field(default_factory=Manifest)
    api: Api = field(init=False)

    def __post_init__(self) -> None:
        self.api = Api(self.reach.api_url, self.reach.api_token)

    async def run(self, events: int | None, *, with_latency: bool) -> Report:
        """*Raises* `StackError` where the platform stands still or does not answer."""
        with self.api:
            return await self._run(events, with_latency)

    async def _run(self, events: int | None, with_latency: bool) -> Report:
        async with make_producer(self.reach.kafka) as producer:
            started_s = time.monotonic()
            replayed = await self._replay(producer, read_purchases(events))
            await self._settle()
            elapsed_s = time.monotonic() - started_s
            latencies = await self._latency(producer) if with_latency else []
        with self.progress("comparing", 0):
            try:
                found = await account(self.reach.kafka, TOPIC, self.landing, self.api, self.manifest.table())
            except NoAnswer as error:
                raise StackError(f"{error}: see `dataforge logs query-api`") from error
        lake = await self._judged()
        return _report(found, self.manifest.table().num_rows, replayed, elapsed_s, latencies, lake)

    async def _judged(self) -> LakeReport | None:
        if self.judge is None:
            return None
        with self.progress("bringing the lake to the log's end, and comparing", 0):
            return await asyncio.to_thread(self.judge)

    @property
    def landing(self) -> Landing:
        return Landing(Bucket.of(self.reach), TOPIC)

    async def _replay(self, producer: AIOKafkaProducer, purchases: Purchases) -> Replayed:
        extra = self.options.faults.duplicates + self.options.faults.malformed
        with self.progress("sending", round(len(purchases) * (1 + extra))) as on_sent:
            return await replay(
                producer, purchases, self.options, self.horizons, manifest=self.manifest, on_sent=on_sent
            )

    async def _settle(self) -> None:
        done = 0
        with self.progress("waiting until all are landed and counted", 0) as on_done:

            def moved(now: int, _total: int) -> None:
                nonlocal done
                on_done(now - done)
                done = now

            await through(self.reach.kafka, TOPIC, self.landing, self.api, stalled_s=self.stalled_s, on_progress=moved)

    async def _latency(self, producer: AIOKafkaProducer) -> list[float]:
        """Milliseconds, one per record of the measured minute; what warms up is left out."""
        purchases = read_purchases(LATENCY_RATE * (WARM_UP_S + MEASURED_S))
        options = Options(rate=LATENCY_RATE, seed=self.options.seed, pass_=self.options.pass_ + 1)
        batches: list[tuple[float, Batch]] = []
        async with watching(
            self.reach.ws_url, self.reach.api_token, domain="retail", metric="revenue", window="10s"
        ) as coverage:
            with self.progress(f"measuring latency at {LATENCY_RATE} a second", len(purchases)) as on_sent:
                await replay(
                    producer,
                    purchases,
                    options,
                    self.horizons,
                    manifest=self.manifest,
                    on_sent=on_sent,
                    on_batches=lambda at_s, some: batches.extend((at_s, batch) for batch in some),
                )
            await self._settle()
            sent = [Sent(b.partition, b.metadata.result().offset + b.records - 1, b.records, at) for at, b in batches]
            ends = {p: max(s.last + 1 for s in sent if s.partition == p) for p in {s.partition for s in sent}}
            await coverage.reached(ends)
        from_s = batches[0][0] + WARM_UP_S
        return coverage.latencies_ms(s for s in sent if s.at_s >= from_s)


def _report(
    found: Account,
    sent: int,
    replayed: Replayed,
    elapsed_s: float,
    latencies: list[float],
    lake: LakeReport | None,
) -> Report:
    compared, ledger = found.comparison, found.ledger
    problems = [*found.problems, *(contradictions(lake, found.received) if lake else [])]
    return Report(
        agrees=not problems and compared.agrees,
        problems=problems,
        sent=sent,
        received=found.received,
        landed=found.landed,
        valid=sum(found.verdicts["valid"].values()),
        quarantined=found.verdicts["quarantined"],
        undecodable=sum(found.verdicts["undecodable"].values()),
        undecodable_reasons=found.verdicts["undecodable"],
        counted=ledger["counted"],
        duplicates=ledger["duplicate"],
        late=ledger["late"],
        ledger=ledger,
        windows_compared=compared.compared,
        windows_equal=compared.equal,
        windows_different=compared.different,
        windows_missing=compared.missing,
        windows_extra=compared.extra,
        windows_by_metric=compared.by_metric,
        first_differences=compared.first,
        rolling_compared_at=found.rolling_at,
        injected=found.injected,
        latency_ms=_percentiles(latencies),
        latency_events=len(latencies),
        elapsed_s=round(elapsed_s, 3),
        events_per_s=round(replayed.sent / elapsed_s, 1),
        replayed=replayed.sent,
        replay_events_per_s=round(replayed.sent / replayed.elapsed_s, 1),
        lake=lake,
    )


def _percentiles(latencies: list[float]) -> dict[str, float]:
    shares: dict[str, Any] = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(percentile(latencies, share), 2) for name, share in shares.items()} if latencies else {}
