"""The servers in containers: started one by one when asked for, removed when the run ends.

They are reached through ports published on this machine, and among containers on a network of their own by the
names of `devstack.model.SERVERS`. Kafka's clients are sent on to the address it advertises, so its port is chosen
before it starts, and it advertises another one to the network.
"""

import asyncio
import logging
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Self

from docker.errors import DockerException
from testcontainers.core.config import ConnectionMode, testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.labels import LABEL_SESSION_ID, SESSION_ID
from testcontainers.core.network import Network

from devstack import plan
from devstack.errors import StackError
from devstack.model import Endpoints, Wanted
from devstack.ports import PortClaims
from devstack.program import NotReady, Probe
from devstack.secret import Secrets, load_or_make
from devstack.servers import kafka, s3proxy, valkey
from devstack.testing import reaper
from devstack.testing.settings import Images

_READY_S = 90.0
_PROBE_EVERY_S = 0.1
_KAFKA_CONFIG = "/tmp/server.properties"  # noqa: S108 - inside the container
_KAFKA_START = (
    f"/opt/kafka/bin/kafka-storage.sh format -t {{cluster}} -c {_KAFKA_CONFIG}"
    f" && exec /opt/kafka/bin/kafka-server-start.sh {_KAFKA_CONFIG}"
)


class Containers:
    """*Guarantees*: a started server has answered a real request; nothing outlives the process that used this."""

    def __init__(self, images: Images, folder: Path) -> None:
        self._images = images
        self._secrets = load_or_make(folder / "secrets.json")
        self._claims = PortClaims()
        self._running: dict[str, DockerContainer] = {}
        self._reaper: subprocess.Popen[bytes] | None = None
        self._network = Network()
        self.inside = Endpoints(
            kafka="kafka:9094",
            redis_url="redis://valkey:6379/0",
            cache_url="redis://valkey-cache:6379/0",
            s3_endpoint="http://s3proxy:80",
            s3_bucket=s3proxy.BUCKET,
            s3_region=s3proxy.REGION,
            s3_access_key=self._secrets.s3_access_key,
            s3_secret_key=self._secrets.s3_secret_key,
            api_token=self._secrets.api_token,
            analyst_token=self._secrets.analyst_token,
        )
        """The addresses as a container `beside` sees them."""

    def beside(self, image: str) -> DockerContainer:
        """A further container on the servers' network, not started; it goes when they go."""
        return DockerContainer(image).with_network(self._network)

    def __enter__(self) -> Self:
        # Testcontainers would take a machine that looks like a container for one, and look for its gateway
        testcontainers_config.connection_mode_override = ConnectionMode.docker_host
        testcontainers_config.tc_host_override = "127.0.0.1"
        testcontainers_config.ryuk_disabled = True  # the reaper does that, without a privileged container
        self._reaper = reaper.start(f"{LABEL_SESSION_ID}={SESSION_ID}")
        self._network.create()
        return self

    def __exit__(self, *_: object) -> None:
        if self._reaper is not None:
            self._reaper.communicate()
        self._claims.release()

    def start(self, server: str) -> Endpoints:
        """The endpoints of this server alone. *Raises* `StackError` with its log's end where it does not come up."""
        makers: dict[str, Callable[[], tuple[DockerContainer, Probe]]] = {
            "kafka": self._kafka,
            "valkey": partial(self._valkey, "valkey", "--appendonly yes --maxmemory-policy noeviction"),
            "valkey-cache": partial(self._valkey, "valkey-cache", "--maxmemory 64mb --maxmemory-policy allkeys-lru"),
            "s3proxy": self._s3proxy,
        }
        container, probe = makers[server]()
        container.with_network(self._network).with_network_aliases(server)
        try:
            self._running[server] = container.start()
        except DockerException as error:
            raise StackError(f"container {server} ({container.image}) did not start: {error}") from error
        self._await_ready(server, probe)
        return plan.endpoints(Wanted(0, servers=(server,), services=()), self._claims.names(), self._secrets)

    def _port(self, name: str) -> int:
        return self._claims.claim({name: 0})[name]

    def _kafka(self) -> tuple[DockerContainer, Probe]:
        port = self._port("kafka")
        command = _KAFKA_START.format(cluster=kafka.new_cluster_id())
        container = (
            DockerContainer(self._images.kafka, entrypoint=["sh", "-c"])
            .with_command([command])
            .with_env("KAFKA_HEAP_OPTS", "-Xmx384m")
            .with_bind_ports(9092, port)
            .with_copy_into_container(_lines(_kafka_properties(port)), _KAFKA_CONFIG)
        )
        return container, partial(kafka.ready, port)

    def _valkey(self, name: str, keeping: str) -> tuple[DockerContainer, Probe]:
        port = self._port(name)
        # with an option first, the public images of both Redis and Valkey put their own server before it
        options = f"{keeping} --save '' --protected-mode no --bind *"
        container = DockerContainer(self._images.valkey).with_command(options).with_bind_ports(6379, port)
        return container, partial(valkey.ready, port)

    def _s3proxy(self) -> tuple[DockerContainer, Probe]:
        port = self._port("s3")
        container = (
            DockerContainer(self._images.s3proxy).with_envs(**_s3proxy_env(self._secrets)).with_bind_ports(80, port)
        )
        return container, partial(s3proxy.ready, port, self._secrets)

    def _await_ready(self, server: str, probe: Probe) -> None:
        with _quiet("aiokafka"), ThreadPoolExecutor(1) as apart:  # the caller may be inside a running loop
            reason = apart.submit(lambda: asyncio.run(_answers(probe, self._alive(server)))).result()
        if reason:
            output, errors = self._running[server].get_logs()
            tail = (output + errors).decode("utf-8", "replace").splitlines()[-15:]
            raise StackError(f"container {server} was not ready: {reason}\n" + "\n".join(f"    {x}" for x in tail))

    def _alive(self, server: str) -> Callable[[], bool]:
        container = self._running[server]

        def alive() -> bool:
            container.reload()
            return container.status in ("created", "running")

        return alive


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """A server that starts fails probes by the dozen; only the last one's reason is worth a line."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


async def _answers(probe: Probe, alive: Callable[[], bool]) -> str:
    """Empty once the probe was answered, else why it was not."""
    deadline = time.monotonic() + _READY_S
    reason = ""
    while time.monotonic() < deadline:
        try:
            async with asyncio.timeout(5):
                return await probe() or ""
        except (NotReady, TimeoutError) as error:
            reason = str(error) or "no answer within 5 s"
        if not alive():
            return f"it ended; last: {reason}"
        await asyncio.sleep(_PROBE_EVERY_S)
    return f"nothing after {_READY_S:.0f} s; last: {reason}"


def _kafka_properties(port: int) -> Mapping[str, object]:
    """The embedded broker's settings, with two ways in: from this machine and from the network."""
    usual = kafka.properties(PurePosixPath("/tmp/kafka"), {"kafka": 9092, "kafka-controller": 9093})  # noqa: S108
    return usual | {
        "listeners": "HOST://:9092,INSIDE://:9094,CONTROLLER://127.0.0.1:9093",
        "advertised.listeners": f"HOST://127.0.0.1:{port},INSIDE://kafka:9094",
        "listener.security.protocol.map": "HOST:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INSIDE",
    }


def _s3proxy_env(secrets: Secrets) -> Mapping[str, str]:
    return {
        "S3PROXY_ENDPOINT": "http://0.0.0.0:80",
        "S3PROXY_AUTHORIZATION": "aws-v2-or-v4",
        "S3PROXY_IDENTITY": secrets.s3_access_key,
        "S3PROXY_CREDENTIAL": secrets.s3_secret_key,
        "S3PROXY_V4_MAX_NON_CHUNKED_REQ_SIZE": str(s3proxy.PUT_MAX_BYTES),
        "JCLOUDS_PROVIDER": "filesystem-nio2",
        "JCLOUDS_IDENTITY": secrets.s3_access_key,
        "JCLOUDS_CREDENTIAL": secrets.s3_secret_key,
        "JCLOUDS_FILESYSTEM_BASEDIR": "/data",
    }


def _lines(properties: Mapping[str, object]) -> bytes:
    return "".join(f"{key}={value}\n" for key, value in properties.items()).encode()
