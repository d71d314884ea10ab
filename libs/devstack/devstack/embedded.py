"""Only the servers, for a test: free ports, any folder, gone with the calling thread. No supervisor.

with EmbeddedServers(tmp_path) as servers:
    servers.endpoints.kafka
"""

import asyncio
import logging
import signal
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from devstack import plan
from devstack.model import SERVERS, Endpoints, Wanted
from devstack.paths import StackPaths
from devstack.ports import PortClaims
from devstack.processes import end_groups, identify, spawn
from devstack.program import Program, wait_ready
from devstack.secret import load_or_make
from devstack.settings import cache_dir, inherited

_READY_S = 90.0


class EmbeddedServers:
    """Kafka, Valkey and S3Proxy, or some of them. Blocking; may be used inside a running event loop too.

    *Guarantees*: after `start` each has answered a real request; after `stop`, or the death of the thread that
    called `start`, none is left. Ports stay the same over `kill` and `start_again`.
    """

    def __init__(self, folder: Path, servers: Sequence[str] = SERVERS) -> None:
        self._paths = StackPaths(folder.absolute())
        self._wanted = Wanted(0, servers=tuple(servers), services=())
        self._claims = PortClaims()
        self._programs: dict[str, Program] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self.endpoints = Endpoints()

    def start(self) -> Self:
        """*Raises* `StackError` with the log's end where one does not come up."""
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        self._paths.logs.mkdir(parents=True, exist_ok=True)
        secrets = load_or_make(self._paths.secrets)
        ports = self._claims.claim(plan.preferred_ports(self._wanted, {}, usual=False))
        self.endpoints = plan.endpoints(self._wanted, ports, secrets)
        programs = plan.servers(self._wanted.servers, self._paths, ports, secrets, inherited(), cache_dir())
        self._programs = {program.name: program for program in programs}
        try:
            for name in self._programs:
                self._spawn(name)
            self._await_ready(*self._programs)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        leaders = [identify(child.pid) for child in self._children.values() if child.poll() is None]
        end_groups(leaders, within_s=20.0)
        for child in self._children.values():
            child.wait()
        self._children.clear()
        self._claims.release()

    @property
    def logs(self) -> Path:
        return self._paths.logs

    def pid(self, name: str) -> int:
        return self._children[name].pid

    def kill(self, name: str) -> None:
        """SIGKILL, and wait for the end."""
        self._children[name].send_signal(signal.SIGKILL)
        self._children[name].wait()

    def start_again(self, name: str) -> None:
        """After `kill`: same port, same data."""
        self._spawn(name)
        self._await_ready(name)

    def _spawn(self, name: str) -> None:
        program = self._programs[name]
        program.prepare()
        self._children[name] = spawn(program.command, env=program.env, cwd=program.folder, log=program.log)

    def _await_ready(self, *names: str) -> None:
        async def all_ready() -> None:
            waits = (wait_ready(self._programs[n], alive=self._alive(n), timeout_s=_READY_S) for n in names)
            await asyncio.gather(*waits)

        with ThreadPoolExecutor(1) as apart:  # the caller may be inside a running loop
            apart.submit(lambda: asyncio.run(all_ready())).result()

    def _alive(self, name: str) -> Callable[[], bool]:
        return lambda: self._children[name].poll() is None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
