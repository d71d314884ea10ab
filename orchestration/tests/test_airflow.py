"""Airflow runs the same pipelines: what it makes of the definition, a run of each, and its alerts on a real Kafka."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataforge import alerts
from dataforge.pipelines import read_pipelines
from dataforge.stream.range_reader import RangeReader
from dataforge.stream.records import TopicPartition

from devstack import orchestration
from devstack.paths import repo_root
from devstack.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

FOLDER = orchestration.ORCHESTRATION
DAGS = FOLDER / "dags"
SETTLED = "alert-settled"
STEP = repo_root() / "libs" / "devstack" / "tests" / "a_step.py"


class Airflow:
    """Its command line over a metadata database of its own, in a home of its own."""

    def __init__(self, home: Path) -> None:
        self._python = orchestration.python()
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PYTHON"))}
        self.env = mine | {
            "PYTHONPATH": str(repo_root() / "libs" / "common"),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        self.call("-m", "airflow", "db", "migrate")

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Of its interpreter. Errors are part of what it says."""
        return subprocess.run(
            [str(self._python), *arguments],
            env=self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def call(self, *arguments: str, **env: str) -> str:
        done = self.run(*arguments, **env)
        assert done.returncode == 0, done.stdout[-8000:]
        return done.stdout

    def structure(self, **env: str) -> dict[str, Any]:
        said = self.call(str(Path(__file__).with_name("structure.py")), str(DAGS), **env)
        found = json.loads(said.splitlines()[-1])
        assert found["errors"] == {}
        return found["dags"]


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    return Airflow(tmp_path_factory.mktemp("airflow"))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Where alerts go."""
    with Stack.start(tmp_path_factory.mktemp("stack"), servers=("kafka",), services=(), tied=True) as running:
        yield running


def test_both_runners_have_the_same_steps_order_and_limits(airflow: Airflow):
    found = airflow.structure()
    pipelines = read_pipelines(FOLDER / "pipelines.yaml")
    assert set(found) == {f"dataforge_{name}" for name in pipelines}
    for name, pipeline in pipelines.items():
        made = found[f"dataforge_{name}"]
        assert (made["schedule"], made["catchup"], made["at_once"]) == (pipeline.schedule, False, 1)
        settled = made["tasks"].pop(SETTLED)
        assert made["tasks"] == {
            step.name: {
                "needs": sorted(step.needs),
                "command": " ".join(["dataforge", *step.run]),
                "retries": step.retries,
                "backoff_s": step.backoff_s,
                "growth": 2.0,
                "timeout_s": step.timeout_s,
                "alerts": 1,
            }
            for step in pipeline.steps
        }
        needed = {need for step in pipeline.steps for need in step.needs}
        assert set(settled["needs"]) == {step.name for step in pipeline.steps} - needed
        assert settled["command"] == f"dataforge lake alert {name} --settled"


@pytest.mark.parametrize("pipeline", ["nightly", "hourly"])
def test_a_pipeline_goes_through(airflow: Airflow, pipeline: str):
    """Each task really runs, its command behind a prefix that ends it well: what the jobs do is the lake's tests'."""
    command = f"{sys.executable} {STEP} works"
    airflow.call("-m", "airflow", "dags", "test", f"dataforge_{pipeline}", AIRFLOW__DATAFORGE__COMMAND=command)


def test_a_task_that_fails_is_tried_again_and_in_the_end_alerted(airflow: Airflow, stack: Stack, tmp_path: Path):
    definition = tmp_path / "pipelines.yaml"
    env = {
        "AIRFLOW__DATAFORGE__COMMAND": f"{sys.executable} {Path(__file__).with_name('command.py')}",
        "AIRFLOW__DATAFORGE__PIPELINES": str(definition),
        "DATAFORGE_PIPELINES": str(definition),
        "DATAFORGE_DATA": str(stack.paths.data),
    }

    def write(last: str) -> None:
        definition.write_text(
            "pipelines: {toys: {schedule: 1 2 * * *, why: a test, steps: {\n"
            f"  flaky: {{run: [toy, fails, '1', {tmp_path}/flaky], backoff: 1ms, why: w}},\n"
            f"  last: {{run: [{last}], needs: [flaky], retries: 1, backoff: 1ms, why: w}},\n"
            "  never: {run: [toy, works], needs: [last], why: w}}}}\n"
        )

    write(f"toy, fails, '99', {tmp_path}/broken")
    failed = airflow.run("-m", "airflow", "dags", "test", "dataforge_toys", **env)
    assert failed.returncode != 0, failed.stdout[-8000:]
    assert ((tmp_path / "flaky").read_text(), (tmp_path / "broken").read_text()) == ("..", "..")
    [raised] = told(stack, "pipeline_failed/toys")
    assert (raised.state, raised.details["failed"][0]["step"]) == ("raised", "last")
    assert raised.details["failed"][0]["attempts"] == 2
    assert "non-zero exit code 3" in raised.message

    write("toy, works")
    airflow.call("-m", "airflow", "dags", "test", "dataforge_toys", **env)
    assert [alert.state for alert in told(stack, "pipeline_failed/toys")] == ["raised", "cleared"]


def told(stack: Stack, key: str) -> list[alerts.Alert]:
    async def read() -> list[alerts.Alert]:
        tp = TopicPartition(alerts.TOPIC, 0)
        async with RangeReader(stack.endpoints().kafka) as reader:
            end = (await reader.end_offsets([tp]))[tp]
            found = [alerts.decode(r.value or b"") async for some in reader.read(tp, 0, end) for r in some]
        return [alert for alert in found if alert.key == key]

    return asyncio.run(read())
