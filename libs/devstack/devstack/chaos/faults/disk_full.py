"""The object store's disk is full: nothing more is landed until there is room again."""

import asyncio
import random
from pathlib import Path

from devstack.chaos.disk import Ballast
from devstack.chaos.fault import Evidence, NotInForce, Stage, until_met

_NO_SPACE = b"No space left on device"


class DiskFull:
    kind, victim = "disk_full", "s3proxy"

    def __init__(self, free_bytes: int) -> None:
        """`free_bytes` are left: small objects still find room, and then not even these."""
        self._free_bytes = free_bytes
        self.evidence: Evidence = {}
        self._log_before: int | None = None

    async def inject(self, stage: Stage) -> None:
        ballast = Ballast(stage.stack.paths)
        if not ballast.possible:
            raise NotInForce("the object store of this stack has no disk of its own")
        self._log_before = stage.stack.paths.log(self.victim).stat().st_size
        try:
            self.evidence["free_bytes"] = await asyncio.to_thread(ballast.fill, self._free_bytes)
        except OSError as error:
            raise NotInForce(f"the disk could not be filled: {error}") from error

    async def heal(self, stage: Stage) -> None:
        before, self._log_before = self._log_before, None
        if before is None:
            return
        log = stage.stack.paths.log(self.victim)

        async def refused() -> int:
            return await asyncio.to_thread(_refused, log, before)

        try:
            if "free_bytes" in self.evidence:
                await until_met(refused)
        finally:
            Ballast(stage.stack.paths).drop()
        self.evidence["effects"] = self.evidence["refused_for_want_of_space"] = await refused()


def _refused(log: Path, start: int) -> int:
    with log.open("rb") as said:
        said.seek(start)
        return said.read().count(_NO_SPACE)


def draw(chosen: random.Random) -> DiskFull:
    return DiskFull(chosen.choice((0, chosen.randrange(4_096, 200_000))))
