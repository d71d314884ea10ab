"""One Kafka 4.1 node (KRaft: broker and controller in one process), on loopback.

*Guarantees*: nothing is created by accident (no topic auto-creation), record times are append times, values of
8 MiB pass. One node's durability: acknowledged records survive the process's death, not the machine's.
"""

import base64
import subprocess
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePath

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from devstack.errors import StackError
from devstack.paths import StackPaths
from devstack.program import NotReady, Program, accepts_tcp
from devstack.servers.java import java_command

NAME = "kafka"
PORTS = {"kafka": 19092, "kafka-controller": 19093}
PROXIED = "kafka-proxied"
"""The port of the second listener, where there is one."""
MESSAGE_MAX_BYTES = 9 * 1024 * 1024
_RETENTION_HOURS = 7 * 24
_LOGGING = (
    "-Dorg.slf4j.simpleLogger.logFile=System.out",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "-Dorg.slf4j.simpleLogger.showThreadName=false",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.utils.AppInfoParser=error",
    # the whole configuration at every start, several times: server.properties says what differs
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaConfig=warn",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config.AbstractConfig=warn",
)


def kafka(
    paths: StackPaths, ports: Mapping[str, int], class_path: str, env: Mapping[str, str], *, proxy: str = ""
) -> Program:
    """With `proxy`, the address of one, there is a second listener for whoever comes through it."""
    folder = paths.of(NAME)
    config = folder / "server.properties"
    java = partial(java_command, class_path, options=_LOGGING)
    return Program(
        name=NAME,
        command=tuple([*java("kafka.Kafka", heap_mib=384), str(config)]),
        env=env,
        folder=folder,
        log=paths.log(NAME),
        ready=partial(ready, ports["kafka"]),
        ports={name: ports[name] for name in PORTS},
        prepare=partial(
            _prepare,
            folder,
            properties(folder / "data", ports, proxy),
            java("kafka.tools.StorageTool", heap_mib=128),
            env,
        ),
        stop_within_s=30.0,
    )


def _prepare(folder: Path, options: Mapping[str, object], storage_tool: list[str], env: Mapping[str, str]) -> None:
    """Write the configuration; format the storage once. A format cut short is done again."""
    data, config = folder / "data", folder / "server.properties"
    folder.mkdir(parents=True, exist_ok=True)
    config.write_text("".join(f"{k}={v}\n" for k, v in options.items()))
    if (data / "meta.properties").exists():
        return
    command = [*storage_tool, "format", "-t", new_cluster_id(), "-c", str(config), "--ignore-formatted"]
    done = subprocess.run(command, env=dict(env), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StackError(f"Kafka's storage in {data} could not be formatted: {(done.stdout + done.stderr).strip()}")


def new_cluster_id() -> str:
    """A random UUID as Kafka writes it; one that begins with a dash would be read as an option."""
    while (name := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        continue
    return name


def properties(data: PurePath, ports: Mapping[str, int], proxy: str = "") -> dict[str, object]:
    broker, controller = f"127.0.0.1:{ports['kafka']}", f"127.0.0.1:{ports['kafka-controller']}"
    listeners = {"PLAINTEXT": broker} | ({"PROXIED": f"127.0.0.1:{ports[PROXIED]}"} if proxy else {})
    advertised = listeners | ({"PROXIED": proxy} if proxy else {})  # a client that came by a proxy comes back by it
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        # voters by configuration, not from the log: the controller's port may move between two starts
        "controller.quorum.voters": f"1@{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": _joined(listeners | {"CONTROLLER": controller}),
        "advertised.listeners": _joined(advertised),
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in (*listeners, "CONTROLLER")),
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "unclean.leader.election.enable": "false",
        "log.message.timestamp.type": "LogAppendTime",
        "log.retention.hours": _RETENTION_HOURS,
        # a broker that was killed reads what it had not flushed, and it flushes a segment when it is full (1 GiB)
        "log.segment.bytes": 32 * 1024 * 1024,
        "message.max.bytes": MESSAGE_MAX_BYTES,
        "replica.fetch.max.bytes": MESSAGE_MAX_BYTES,
        "num.partitions": 1,
        "default.replication.factor": 1,
        "min.insync.replicas": 1,
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        # a service's instances start together: without a delay the first of them opens all, to give half of it back
        "group.initial.rebalance.delay.ms": 500,
        # a killed broker may register again only when its last session is over: 9 s by default
        "broker.session.timeout.ms": 3_000,
        "broker.heartbeat.interval.ms": 500,
        "group.min.session.timeout.ms": 1_000,
        # the default of 128 MiB is taken from the heap at start, for a cleaner that has only offsets to compact
        "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
        "num.network.threads": 2,
        "num.io.threads": 4,
    }


def _joined(listeners: Mapping[str, str]) -> str:
    return ",".join(f"{name}://{address}" for name, address in listeners.items())


async def ready(port: int) -> None:
    """A metadata request answered by a broker that knows itself: it is registered and unfenced."""
    await accepts_tcp(port)
    client = AIOKafkaClient(bootstrap_servers=f"127.0.0.1:{port}", request_timeout_ms=4_000)
    try:
        await client.bootstrap()
        if not client.cluster.brokers():
            raise NotReady("the broker has not joined its own cluster yet")
    except KafkaError as error:
        raise NotReady(f"port {port}: {error}") from error
    finally:
        await client.close()
