"""Clock steps: the wall clock of one worker's Python jumps by hours, while its process lives.

What it shifts: `time.time`, `time.time_ns`, `time.localtime`, `time.gmtime`, `datetime.now`, `utcnow` and `date.today`
of that process (devstack/chaos/clock/sitecustomize.py), so log lines, request signatures and whatever asks Python.
What it does not: monotonic clocks (no clock step moves these), the kernel, file times, and C code that asks libc.
"""

import os
import random
import struct
from pathlib import Path

from devstack.chaos import clock
from devstack.chaos.fault import Evidence, NotInForce, Stage
from devstack.chaos.faults.processes import serving, worker_instances
from devstack.paths import StackPaths
from devstack.settings import inherited

FORMAT = "=dQ"
"""Seconds to add, and how often a shifted time was told. The hook reads and writes the same bytes."""
_HOUR_S = 3600.0


def hooked(paths: StackPaths) -> dict[str, str]:
    """Environment that puts the hook into every service. It does nothing until a file of the instance says so."""
    folder = paths.of("clocks")
    folder.mkdir(parents=True, exist_ok=True)
    for name in worker_instances():
        (folder / name).write_bytes(struct.pack(FORMAT, 0.0, 0))
    path = os.pathsep.join(filter(None, (str(Path(clock.__file__).parent), inherited().get("PYTHONPATH"))))
    return {"PYTHONPATH": path, "DATAFORGE_CHAOS_CLOCKS": str(folder)}


class Stepped:
    kind = "clock"

    def __init__(self, victim: str, offset_s: float) -> None:
        self.victim, self._offset_s = victim, offset_s
        self.evidence: Evidence = {"offset_s": round(offset_s)}
        self._in_force = False

    async def inject(self, stage: Stage) -> None:
        self.evidence["pid"] = serving(stage, self.victim).pid
        self._set(stage, self._offset_s)
        self._in_force = True

    async def heal(self, stage: Stage) -> None:
        if self._in_force:
            self._in_force = False
            self.evidence["effects"] = self.evidence["shifted_times_told"] = self._set(stage, 0.0)

    def _set(self, stage: Stage, offset_s: float) -> int:
        """How often the offset before was told."""
        file = stage.stack.paths.of("clocks") / self.victim
        if not file.exists():
            raise NotInForce(f"{self.victim} runs without the clock's hook")
        with file.open("r+b") as clock_file:
            told = struct.unpack(FORMAT, clock_file.read())[1]
            clock_file.seek(0)
            clock_file.write(struct.pack(FORMAT, offset_s, 0))
        return told


def draw(chosen: random.Random) -> Stepped:
    return Stepped(chosen.choice(worker_instances()), chosen.choice((-1, 1)) * chosen.uniform(1, 48) * _HOUR_S)
