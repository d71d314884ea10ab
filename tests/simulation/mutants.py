"""The guards of DESIGN R2 to R6b, each taken away in turn. Data alone: it is read before the platform is imported."""

from typing import NamedTuple

from simulation.mutate import Edit


class Mutant(NamedTuple):
    guard: str
    edits: tuple[Edit, ...]
    shows: str
    """What a violation must say: what goes wrong without the guard, not just anything."""
    scenario: str = ""
    """A directed schedule, of `simulation.directed`; else drawn ones."""
    seeds: int = 40
    """How many are tried."""


JUDGE = "quality_worker.partition"
LAND = "landing_worker.partition"
COUNT = "aggregator.partition"

ACCEPTS = "        if base <= self.next <= src:\n"
COMMITTED = "        if (p.claim, p.position) != (commit.claim, commit.previous):\n"
COMMIT = "            await self._store.commit(self._compiled.name, self._tp.partition, commit)\n"
CLAIM = "        await self._store.claim(self._compiled.name, self._tp.partition, self._claim)\n"
LOAD = (
    "        loaded = await self._store.load("
    "self._compiled.name, self._tp.partition, self._compiled.event.lateness_ms)\n"
)
SEND_FAILED = Edit(
    JUDGE,
    "            self._position = await sending\n",
    "            try:\n                self._position = await sending\n"
    "            except Exception:\n                pass\n",
)

MUTANTS = {
    "claim token": Mutant(
        "a commit under another claim is refused",
        (Edit("dataforge.state.memory", COMMITTED, "        if p.position != commit.previous:\n"),),
        "state of partition",
        "commit_between_the_steps_of_a_load",
    ),
    "previous offset": Mutant(
        "a commit from another position is refused",
        (Edit("dataforge.state.memory", COMMITTED, "        if p.claim != commit.claim:\n"),),
        "state of partition",
        "rollback_before_a_commit",
    ),
    "load before claim": Mutant(
        "an owner claims before it loads",
        (Edit(COUNT, CLAIM + LOAD, LOAD + CLAIM),),
        "state of partition",
        "commit_between_the_steps_of_a_load",
    ),
    "one put in flight": Mutant(
        "a PUT begins once the one before is known",
        (
            Edit(
                LAND,
                "        if self._putting is not None and self._putting.done():\n",
                "        if self._putting is not None:\n",
            ),
            Edit(
                LAND,
                "        self._last = await putting\n",
                "        if self._cut and self._cut.landed and not putting.done():\n"
                "            self._last = self._cut.landed[0]\n"
                "        else:\n"
                "            self._last = await putting\n",
            ),
        ),
        "was due",
        "lost_put",
    ),
    "no clock in the key": Mutant(
        "a key is where the object before ended, and nothing else",
        (
            Edit(
                "dataforge.storage.chain",
                '        return f"{self.prefix}{start:020d}{SUFFIX}"\n',
                "        import asyncio\n\n"
                "        now = int(asyncio.get_running_loop().time() * 1000)\n"
                '        return f"{self.prefix}{start:020d}-{now}{SUFFIX}"\n',
            ),
            Edit("dataforge.storage.chain", r'(r"(\d{20})\.parquet")', r'(r"(\d{20})-\d+\.parquet")'),
            Edit(
                "dataforge.storage.chain",
                "    async def footer(self, key: str) -> Footer:\n",
                "    async def _footer(self, key: str) -> Footer:\n",
            ),
            Edit(
                "dataforge.storage.chain",
                "    async def listed(self, start: int) -> Footer:\n",
                "    async def footer(self, key: str) -> Footer:\n"
                '        start = key.rpartition("/")[2][:20]\n'
                "        found = [k async for k in self._store.list(self.prefix) if start in k]\n"
                "        if not found:\n"
                "            raise KeyError(key)\n"
                "        return await self._footer(max(found))\n\n"
                "    async def listed(self, start: int) -> Footer:\n",
            ),
        ),
        "was due",
        "late_put",
    ),
    "If-None-Match": Mutant(
        "the store lets one writer create an object",
        (Edit("simulation.servers", "        if key in self._objects:\n            return False\n", ""),),
        "chain",
        "late_put",
    ),
    "chain start by listing": Mutant(
        "landing goes on where the chain ends, not where a group's offset says",
        (
            Edit(
                LAND,
                "        end = await self._chain.end(bounds.end)\n",
                "        from dataforge.storage.chain import ChainEnd\n\n"
                "        end = ChainEnd(*OFFSETS.get(id(self._store), {}).get(self._tp, (0, None)))\n",
            ),
            Edit(
                LAND,
                "        self._last = await putting\n",
                "        self._last = await putting\n"
                "        offsets = OFFSETS.setdefault(id(self._store), {})\n"
                "        offsets[self._tp] = self._last.next, self._last\n",
            ),
            Edit(LAND, "FLUSH_S = 3.0\n", "FLUSH_S = 3.0\nOFFSETS = {}\n"),
        ),
        "landed to",
    ),
    "failed send goes on": Mutant(
        "a process whose send failed leaves",
        (SEND_FAILED,),
        "verdict",
        "lost_send",
    ),
    "base, and a failed send goes on": Mutant(
        "a verdict says where its claim on the log begins",
        (SEND_FAILED, Edit("dataforge.stream.judged", ACCEPTS, "        if self.next <= src:\n")),
        "no accepted verdict",
        "lost_send",
    ),
    "raw timestamp: judged's own": Mutant(
        "counting knows no time but the raw record's",
        (
            Edit(
                "aggregator.fold",
                "        for begin, end in _minutes(ts):\n",
                "        ts = [record.timestamp for record in kept]\n        for begin, end in _minutes(ts):\n",
            ),
        ),
        "state of partition",
    ),
    "raw timestamp: a clock": Mutant(
        "a verdict carries the raw record's time",
        (
            Edit(
                JUDGE,
                "base, record.timestamp, contract",
                "base, record.timestamp + int(asyncio.get_running_loop().time()), contract",
            ),
        ),
        "carries",
    ),
    "acceptance fold": Mutant(
        "a reader takes only verdicts that go on where it stands",
        (Edit("dataforge.stream.judged", ACCEPTS, "        if True:\n"),),
        "state of partition",
        "repeated_send",
    ),
    "split by offset": Mutant(
        "a commit holds all that its position stands for",
        (
            Edit(
                COUNT,
                COMMIT,
                "            from dataclasses import replace\n\n"
                "            whole = commit\n"
                "            for key in list(commit.windows)[:-1]:\n"
                "                part = replace(commit, windows={key: whole.windows[key]}, feed=())\n"
                "                await self._store.commit(self._compiled.name, self._tp.partition, part)\n"
                "                left = {k: rows for k, rows in commit.windows.items() if k != key}\n"
                "                commit = replace(commit, previous=commit.position, windows=left)\n" + COMMIT,
            ),
        ),
        "state of partition",
    ),
    "idle check": Mutant(
        "an owner without input looks whether it still owns",
        (Edit(COUNT, "        elif self._clock() >= self._checked + IDLE_CHECK_S:\n", "        elif False:\n"),),
        "counted to",
        "rollback_of_an_idle_owner",
    ),
    "topic id": Mutant(
        "a topic that was recreated is another log",
        (Edit("dataforge.stream.origin", "    return one == other or NO_ID in (one, other)\n", "    return True\n"),),
        "recreated",
        "recreated_topic",
    ),
    "sink safe before commit": Mutant(
        "a judge goes on where its verdicts end, not where an offset committed before they were safe says",
        (
            Edit(
                JUDGE,
                "        self._position = self._base = judged.next\n",
                "        self._position = self._base = OFFSETS.get(id(self._sink), {}).get(self._tp, 0)\n",
            ),
            Edit(
                JUDGE,
                "        self._sending = asyncio.create_task(self._send(verdicts, batch.next))\n",
                "        OFFSETS.setdefault(id(self._sink), {})[self._tp] = batch.next\n"
                "        self._sending = asyncio.create_task(self._send(verdicts, batch.next))\n",
            ),
            Edit(JUDGE, 'DETAIL = "detail"\n', 'DETAIL = "detail"\nOFFSETS = {}\n'),
        ),
        "verdict",
    ),
}
