"""The `dataforge` command against real servers."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from devstack.model import SERVERS

pytestmark = pytest.mark.integration

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def dataforge(tmp_path: Path) -> Iterator[Run]:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "devstack", *map(str, arguments), "--data", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    yield run
    run("down")


async def topics(bootstrap: str) -> dict[str, dict[str, str]]:
    """Name -> settings that matter here."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        names = [t for t in await admin.list_topics() if not t.startswith("__")]
        answers: list[Any] = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        )
        found = (resource for answer in answers for resource in answer.resources)
        return {r[3]: {entry[0]: entry[1] for entry in r[4]} for r in found}
    finally:
        await admin.close()


async def test_a_domain_is_added_to_a_running_stack(dataforge: Run, make_domain: Any, tmp_path: Path, watch: Any):
    left_behind, _ = watch
    first, second = make_domain("alpha"), make_domain("beta")
    up = dataforge("up", "--only", "servers", "--domain", first, "--json")
    assert up.returncode == 0, up.stderr
    before = json.loads(up.stdout)
    assert before["phase"] == "ready"
    found = await topics(before["endpoints"]["kafka"])
    assert set(found) == {
        *(f"{kind}.alpha.thing.v1" for kind in ("raw", "judged", "quarantine")),
        "alerts.v1",
        "control.v1",
        "corrections.v1",
    }
    raw, judged = found["raw.alpha.thing.v1"], found["judged.alpha.thing.v1"]
    assert int(raw["max.message.bytes"]) >= 8 * 2**20
    assert int(judged["max.message.bytes"]) == int(raw["max.message.bytes"]) + 64 * 1024
    assert {t["message.timestamp.type"] for t in found.values()} == {"LogAppendTime"}
    assert {t["cleanup.policy"] for t in found.values()} == {"delete"}

    after = json.loads(dataforge("up", "--only", "servers", "--domain", second, "--json").stdout)
    assert {f"{k}.{d}.thing.v1" for k in ("raw", "judged") for d in ("alpha", "beta")} <= set(
        await topics(after["endpoints"]["kafka"])
    )
    assert after["domains"] == [str(first), str(second)]
    assert [p["process"] for p in after["programs"]] == [p["process"] for p in before["programs"]]

    wrong = dataforge("up", "--only", "servers", "--domain", make_domain("gamma", event_time="never"))
    assert wrong.returncode == 2
    assert "thing.v1.json" in wrong.stderr

    status = json.loads(dataforge("status", "--json").stdout)
    assert status["phase"] == "ready"
    assert {p["name"] for p in status["programs"] if p["memory_mib"] > 1 and p["pid"]} == set(SERVERS)
    assert "Kafka Server started" in dataforge("logs", "kafka", "-n", 5000).stdout

    assert dataforge("down").returncode == 0
    assert left_behind(tmp_path) == []
    assert dataforge("status").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("up", "--domain", "/nowhere"), 2, "no folder /nowhere"),
        (("up", "--only", "kafkaa"), 2, "nothing is called kafkaa"),
        (("up", "--scale", "kafka=2"), 2, "SERVICE=COUNT"),
        (("logs", "kafka"), 2, "there is no log of 'kafka'"),
        (
            ("replay", "retail", "--bootstrap", "127.0.0.1:1", "--events", "10"),
            1,
            "Kafka at 127.0.0.1:1 does not answer",
        ),
        (("status",), 1, "dataforge up"),
        (("down",), 0, ""),
    ],
)
def test_errors_say_what_to_do_and_exit_codes_say_whose_fault_it_is(
    dataforge: Run, arguments: tuple[str, ...], code: int, says: str
):
    done = dataforge(*arguments)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
