"""The proof of the lake: a replay into a running stack, jobs that are killed on the way, and every row of every table
beside an oracle that shares no code with the platform.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from devstack.demo.settle import through
from devstack.errors import StackError
from devstack.lake.jobs import asked
from devstack.lake.kill import Kill, Watched, between_commits, in_a_commit, killed, locked, while_writing
from devstack.model import Endpoints
from devstack.oracle import retail
from devstack.oracle.api import Api
from devstack.oracle.lake import (
    LAYERS,
    Due,
    Layer,
    attach,
    compare_bronze,
    compare_gold,
    compare_silver,
    due_of_agree,
)
from devstack.oracle.landed import Bucket, Landing
from devstack.oracle.log import end_offsets, read_raw
from devstack.oracle.outcomes import contradictions, decide, load
from devstack.replay.manifest import Manifest
from devstack.replay.plan import Horizons
from devstack.replay.purchases import read_purchases
from devstack.replay.replay import TOPIC, Options, replay
from devstack.replay.send import make_producer

JUDGED = TOPIC.replace("raw.", "judged.", 1)
NAMESPACE, EVENT = "retail", "purchase_v1"
COMMITS = 8
"""Of bronze and of silver, about: enough to be killed between two of them."""
STALLED_S = 120.0

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""(what happens, how many) -> a function that takes how many more are done."""


class Proof(msgspec.Struct, kw_only=True):
    """What FILE holds. *Units*: rows, windows; seconds where the name says so."""

    agrees: bool = False
    problems: list[str] = []
    """What does not agree, in words; empty where all does."""
    sent: int
    compared: int
    """Rows of all three tables, and those that should be there and are not."""
    equal: int
    layers: dict[str, dict[str, Any]]
    sales_cents: dict[str, int]
    """Of the oracle's events, of silver, of gold's days."""
    agree: dict[str, Any]
    """The lake's own report on the live numbers."""
    due: dict[str, int]
    """What the oracle expects of it."""
    kills: list[dict[str, str]]
    seconds: dict[str, float]


@dataclass(slots=True)
class Prove:
    """*Guarantees*: the report is on exactly what it sent; the topic must be empty before."""

    reach: Endpoints
    catalog: Path
    env: Mapping[str, str]
    python: Path
    horizons: Horizons
    options: Options
    progress: Progress
    log: Path
    """What the jobs that are killed have to say."""
    manifest: Manifest = field(default_factory=Manifest)
    seconds: dict[str, float] = field(default_factory=dict)

    async def run(self, events: int | None, *, kills: bool) -> Proof:
        """*Raises* `StackError` where the platform stands still, or a job fails."""
        with self.progress("making the lake's tables", 0):
            await asyncio.to_thread(asked, ["run", "all"], self.env, self.python)
        await self._replay(events)
        size = self.manifest.table().num_rows
        env = {**self.env, "DATAFORGE_LAKE_COMMIT_ROWS": str(max(1, size // COMMITS))}
        with self.progress("the lake's jobs", 0):
            happened = await self._killed(env) if kills else []
            began = time.monotonic()
            await asyncio.to_thread(asked, ["run", "all"], env, self.python)
            self.seconds["jobs after the kills" if kills else "jobs"] = round(time.monotonic() - began, 1)
            again = msgspec.json.decode(await asyncio.to_thread(asked, ["run", "all"], env, self.python))
            agreed = await asyncio.to_thread(asked, ["agree"], env, self.python, fails_by_answering=True)
            report = msgspec.json.decode(agreed)
        with self.progress("comparing", 0):
            received = await read_raw(self.reach.kafka, TOPIC)
            proof = await asyncio.to_thread(self._compare, received, report)
        did = {f"{layer} {what}": n for jobs in again.values() for layer, by in jobs.items() for what, n in by.items()}
        if any(did.values()):
            proof.problems.append(f"run again, the jobs found something to do: {did}")
        proof.kills = [asdict(kill) for kill in happened]
        proof.agrees = not proof.problems
        return proof

    async def _replay(self, events: int | None) -> None:
        purchases, faults = read_purchases(events), self.options.faults
        began = time.monotonic()
        async with make_producer(self.reach.kafka) as producer:
            with self.progress(
                "sending", round(len(purchases) * (1 + faults.duplicates + faults.malformed))
            ) as on_sent:
                await replay(producer, purchases, self.options, self.horizons, manifest=self.manifest, on_sent=on_sent)
        with self.progress("waiting until all are judged, counted and landed", 0):
            raw, judged = (Landing(Bucket.of(self.reach), topic) for topic in (TOPIC, JUDGED))
            with Api(self.reach.api_url, self.reach.api_token) as api:
                await through(self.reach.kafka, TOPIC, raw, api, stalled_s=STALLED_S)
            await self._landed(judged)
        self.seconds["replay"] = round(time.monotonic() - began, 1)

    async def _landed(self, judged: Landing) -> None:
        """The lake reads what is landed of the verdicts. *Raises* `StackError` where that stands still."""
        ends, behind, moved_s = await end_offsets(self.reach.kafka, JUDGED), -1, time.monotonic()
        while behind:
            landed = await judged.next()
            now = sum(max(0, end - landed.get(partition, 0)) for partition, end in ends.items())
            if now != behind:
                behind, moved_s = now, time.monotonic()
            elif time.monotonic() - moved_s > STALLED_S:
                raise StackError(f"{behind} verdicts are not landed, and nothing moves: `dataforge status`")
            await asyncio.sleep(0.2)

    async def _killed(self, env: Mapping[str, str]) -> list[Kill]:
        """Three jobs, each killed in the middle; what of a layer is left, the next run has to find."""
        rng = random.Random(self.options.seed)
        tables = {
            layer: Watched(self.catalog, Bucket.of(self.reach), NAMESPACE, f"{layer}_{EVENT}") for layer in LAYERS
        }

        def command(job: str) -> list[str]:
            return [str(self.python), "-m", "lake", "run", job]

        found: list[Kill] = []
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            # Of bronze: silver's gate commits to a table of its own first, and would be what waits.
            with locked(self.catalog):
                look = in_a_commit(tables["bronze"])
                found.append(await killed("bronze", "in a commit", command("bronze"), env, look, log))
            await asyncio.to_thread(asked, ["run", "bronze"], env, self.python)
            look = between_commits(tables["silver"], rng.randint(1, COMMITS // 2), rng.uniform(0, 2))
            found.append(await killed("silver", "between commits", command("silver"), env, look, log))
            await asyncio.to_thread(asked, ["run", "silver"], env, self.python)
            with locked(self.catalog):
                look = await while_writing(tables["gold"])
                found.append(await killed("gold", "while writing", command("gold"), env, look, log))
        return found

    def _compare(self, received: pa.Table, report: dict[str, Any]) -> Proof:
        began = time.monotonic()
        with duckdb.connect() as db:
            sent = self.manifest.table()
            load(db, received, sent)
            decide(db, retail.LATENESS_MS)
            attach(db, self.catalog, Bucket.of(self.reach), namespace=NAMESPACE, event=EVENT)
            problems = [
                f"sent and received differ: {row}" for row in db.execute("FROM unexplained LIMIT 10").fetchall()
            ]
            problems += [f"the injector meant otherwise (kind, outcome, records): {row}" for row in contradictions(db)]
            layers = {"bronze": compare_bronze(db), "silver": compare_silver(db), "gold": compare_gold(db)}
            sales = {name: int(db.execute(query).fetchall()[0][0] or 0) for name, query in _SALES.items()}
            due = due_of_agree(db)
        problems += disagreements(layers, sales, report, due)
        self.seconds["comparing"] = round(time.monotonic() - began, 1)
        return Proof(
            problems=problems, sent=sent.num_rows, compared=sum(layer.compared for layer in layers.values()),
            equal=sum(layer.equal for layer in layers.values()), sales_cents=sales, agree=report, due=asdict(due),
            layers={name: asdict(layer) for name, layer in layers.items()}, kills=[], seconds=self.seconds,
        )  # fmt: skip


_SALES = {
    "oracle": "SELECT sum(sales_cents) FROM event JOIN item USING (row)",
    "silver": "SELECT sum(sales_value) * 100 FROM lake_silver",
    "gold": """SELECT sum(top) FROM lake_gold WHERE metric = 'revenue' AND len("by") = 0 AND "window" = '1d'""",
}


def disagreements(
    layers: Mapping[str, Layer], sales: Mapping[str, int], report: Mapping[str, Any], due: Due
) -> list[str]:
    """In words. Pure."""
    problems = [
        f"{name}: {layer.different} different, {layer.missing} missing, {layer.extra} extra of {layer.compared}"
        for name, layer in layers.items()
        if not layer.agrees
    ]
    if len(set(sales.values())) != 1:
        problems.append(f"sales differ, in cents: {dict(sales)}")
    if report["unexplained"]:
        problems.append(f"agree cannot explain {report['unexplained']} windows")
    if report["compared"] != due.windows:
        problems.append(f"agree compared {report['compared']} windows, there are {due.windows}")
    differ = report["explained"] + report["corrected"]
    if not due.least <= differ <= due.most:
        problems.append(f"{differ} windows differ from live, {due.least} to {due.most} must")
    return problems
