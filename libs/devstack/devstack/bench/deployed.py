"""Our services as they are deployed, each run alone; and the domain of sales under other names."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from devstack.bench.process import Cost, cost_of
from devstack.model import Endpoints
from devstack.paths import repo_root
from devstack.ports import PortClaims
from devstack.stack import Stack

CONTESTANTS, SALES = repo_root() / "bench" / "contestants", repo_root() / "bench" / "sales"
LOOK_S = 0.2
"""Being asked costs the service something too."""
NOTHING = "none"
"""An event that nobody sends: what starting costs, without a record."""


@contextmanager
def servers() -> Iterator[tuple[Endpoints, Path]]:
    """Kafka, Valkey and an object store of their own, and their folder. *Raises* `StackError`."""
    with (
        tempfile.TemporaryDirectory(prefix="dataforge-bench-") as folder,
        Stack.start(Path(folder), [SALES], services=(), servers=("kafka", "valkey", "s3proxy"), tied=True) as stack,
    ):
        yield stack.endpoints(), Path(folder)


class Deployed:
    """`python -m MODULE`."""

    def __init__(self, module: str, reach: Endpoints) -> None:
        self._module, self._reach, self._ports, self._admin = module, reach, PortClaims(), 0

    async def run(
        self, domain: Path, done: Callable[[], Awaitable[bool]] | None = None, more: Mapping[str, str] | None = None
    ) -> Cost:
        """Until it is `done`, or else only until it is ready. *Raises* `StackError` where it fails."""
        self._admin = self._ports.claim({"admin": 0})["admin"]
        named = {"DATAFORGE_ADMIN_PORT": str(self._admin), "DATAFORGE_LOG_LEVEL": "WARNING"}
        try:
            return await cost_of(
                [sys.executable, "-m", self._module],
                {**os.environ, **self._reach.service_env([str(domain)]), **named, **(more or {})},
                done or self.ready,
            )
        finally:
            self._ports.release()

    async def ready(self) -> bool:
        await asyncio.sleep(LOOK_S)
        try:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"http://127.0.0.1:{self._admin}/readyz")).is_success
        except httpx.HTTPError:
            return False


def sales_as(event: str, scratch: Path, label_cap: int = 1_000, lateness: str = "60s") -> Path:
    """The domain of sales with another name for its event, and so with topics of its own."""
    domain = scratch / "domains" / event / "sales"
    if not domain.exists():
        shutil.copytree(SALES, domain)
        (domain / "sale.v1.json").rename(domain / f"{event}.v1.json")
        metrics = domain / "metrics.yaml"
        text = metrics.read_text().replace("event: sale", f"event: {event}")
        text = text.replace("lateness: 60s", f"lateness: {lateness}")
        metrics.write_text(text.replace("label_cap: 1000", f"label_cap: {label_cap}"))
    return domain
