"""Pipelines run here: real children that fail, hang and are killed, and a runner that is."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

from dataforge import alerts
from dataforge.pipelines import Pipeline, Step, read_pipelines
from dataforge.stream.range_reader import RangeReader
from dataforge.stream.records import TopicPartition

from a_run import STEP
from devstack import orchestration
from devstack.cli import build
from devstack.errors import StackError, UsageError
from devstack.paths import StackPaths
from devstack.pipelines.alert import failure, outcome
from devstack.pipelines.attempt import attempt
from devstack.pipelines.report import Report, StepReport
from devstack.pipelines.run import Run, chosen, planned
from devstack.pipelines.show import shown
from devstack.processes import ProcessId
from devstack.stack import Stack

DEFINITION = orchestration.ORCHESTRATION / "pipelines.yaml"
RUN = [sys.executable, str(Path(__file__).with_name("a_run.py"))]
_REST: Any = {"why": "a test", "backoff_s": 0.001}


def pipeline_of(*steps: Step) -> Pipeline:
    return Pipeline("nightly", "15 2 * * *", "a test", steps)


def ran(folder: Path, *steps: Step, begin: str | None = None) -> tuple[Report, list[tuple[str, str]]]:
    """The report, and (step, status) of every change on the way."""
    pipeline, seen = pipeline_of(*steps), []
    report = planned(pipeline, begin)

    def watch(step: StepReport) -> None:
        seen.append((step.step, step.status))

    Run(pipeline, StackPaths(folder), os.environ, watch, STEP).happen(report)
    return report, seen


def test_a_step_that_fails_twice_is_done_at_the_third_attempt(tmp_path: Path):
    file = tmp_path / "attempts"
    report, seen = ran(tmp_path, Step("flaky", ("fails", "2", str(file)), **_REST), Step("next", ("works",), **_REST))
    flaky, after = report.steps
    assert (flaky.status, flaky.attempts, flaky.exit_code, flaky.said) == ("done", 3, 0, "attempt 3")
    assert Path(flaky.log).read_text() == "attempt 1\nattempt 2\nattempt 3\n"
    assert (after.status, after.attempts, after.said) == ("done", 1, "it worked")
    assert report.passed
    again = [("flaky", "running"), ("flaky", "waiting")]
    assert seen == [*again, *again, ("flaky", "running"), ("flaky", "done"), ("next", "running"), ("next", "done")]


def test_what_needs_a_failed_step_is_skipped_and_what_does_not_is_done(tmp_path: Path):
    file = str(tmp_path / "attempts")
    report, _ = ran(
        tmp_path,
        Step("broken", ("fails", "9", file), retries=1, **_REST),
        Step("child", ("works",), needs=("broken",), **_REST),
        Step("grandchild", ("works",), needs=("child",), **_REST),
        Step("other", ("works",), **_REST),
    )
    assert {step.step: (step.status, step.attempts) for step in report.steps} == {
        "broken": ("failed", 2),
        "child": ("skipped", 0),
        "grandchild": ("skipped", 0),
        "other": ("done", 1),
    }
    assert not report.passed
    assert report.steps[0].exit_code == 3


def test_a_run_may_begin_behind_what_is_done(tmp_path: Path):
    first = Step("first", ("fails", "9", str(tmp_path / "attempts")), **_REST)
    second, third = Step("second", ("works",), needs=("first",), **_REST), Step("third", ("works",), **_REST)
    report, _ = ran(tmp_path, first, second, third, begin="second")
    assert [step.status for step in report.steps] == ["left_out", "done", "done"]
    assert report.passed
    with pytest.raises(UsageError, match="in order: first, second, third"):
        planned(pipeline_of(first, second, third), "fourth")


def test_a_step_that_hangs_is_ended_with_all_it_started(tmp_path: Path, watch: Any):
    _, eventually = watch
    leaders: list[ProcessId] = []

    def started(leader: ProcessId) -> None:
        """Its time begins to run when its child is there."""
        leaders.append(leader)
        eventually(lambda: len(leader.group()) == 2)

    ended = attempt(
        [*STEP, "hangs", str(tmp_path / "child")],
        os.environ,
        cwd=tmp_path,
        log=tmp_path / "log",
        limit_s=0.01,
        started=started,
    )
    assert (ended.code, ended.said, ended.well) == (None, "ended after 0.01 s", False)
    assert leaders[0].group() == []


def test_a_time_limit_counts_as_a_failed_attempt(tmp_path: Path):
    report, _ = ran(tmp_path, Step("slow", ("sleeps",), retries=1, timeout_s=0.05, **_REST))
    [slow] = report.steps
    assert (slow.status, slow.attempts, slow.exit_code) == ("failed", 2, None)
    assert slow.said.endswith("ended after 0.05 s")


class Runner:
    """A run in a process of its own, whose one step hangs, with a child."""

    def __init__(self, folder: Path, eventually: Any) -> None:
        self.folder, self._eventually, self._pids = folder, eventually, folder / "child"
        self.definition = folder / "pipelines.yaml"
        self.write("hangs", str(self._pids))
        self.process = self.start()

    def write(self, *step: str) -> None:
        steps = {"only": {"run": list(step), "why": "a test"}}
        pipeline = {"schedule": "15 2 * * *", "why": "a test", "steps": steps}
        self.definition.write_text(json.dumps({"pipelines": {"nightly": pipeline}}))

    def start(self) -> subprocess.Popen[str]:
        command = [*RUN, str(self.folder), str(self.definition), "nightly"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def anew(self) -> tuple[int, str, str]:
        """Another run, to its end: exit code, what it said, and its errors."""
        process = self.start()
        said, errors = process.communicate(timeout=30)
        return process.returncode, said, errors

    def child(self) -> int:
        """Of the step, once it runs and the lock says so."""
        lock = self.folder / "pipelines" / "nightly.lock"
        self._eventually(lambda: self._pids.exists() and '"step":{' in lock.read_text())
        return int(self._pids.read_text())


@pytest.fixture
def runner(tmp_path: Path, watch: Any) -> Iterator[Runner]:
    running = Runner(tmp_path, watch[1])
    yield running
    running.process.kill()
    running.process.communicate()
    running.write("works")
    assert running.anew()[0] == 0, "what is left is ended, whatever the test did"


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_end_leaves_no_process(runner: Runner, watch: Any, number: signal.Signals):
    left_behind, _ = watch
    child = runner.child()
    runner.process.send_signal(number)
    assert runner.process.wait(30) == 130
    assert not alive(child)
    assert left_behind(runner.folder) == []


def test_a_run_that_was_killed_blocks_no_other_and_what_it_left_is_ended(runner: Runner, watch: Any):
    left_behind, _ = watch
    child = runner.child()
    runner.process.kill()
    runner.process.wait()
    assert alive(child), "else there is nothing to end"
    runner.write("works")
    code, report, errors = runner.anew()
    assert code == 0, errors
    assert json.loads(report)["steps"][0]["status"] == "done"
    assert not alive(child)
    assert left_behind(runner.folder) == []


def test_of_two_runs_one_is_refused_and_says_who_runs(runner: Runner):
    child = runner.child()
    code, _, errors = runner.anew()
    assert code == 1
    assert f"as process {runner.process.pid}" in errors
    assert alive(child)


def test_an_alert_says_what_failed_and_what_to_do():
    said = "Traceback …\nlake: it is full"
    steps = [
        StepReport("gold", ("lake", "run", "gold"), "failed", 3, said=said, log="/logs/gold"),
        StepReport("agree", ("lake", "agree"), "skipped"),
    ]
    alert = outcome(Report("nightly", "", steps), 7)
    assert alert is not None
    assert (alert.key, alert.state, alert.severity, alert.at_ms) == ("pipeline_failed/nightly", "raised", "warning", 7)
    assert alert.message == "nightly failed at gold (attempts: 3): lake: it is full; not begun: agree"
    assert "/logs/gold" in alert.what_to_do
    assert "dataforge lake nightly --pipeline nightly --from gold" in alert.what_to_do
    assert alert.details["failed"] == [{"step": "gold", "attempts": 3, "said": said}]
    assert failure("hourly", steps[:1], [], 7).key != alert.key
    assert outcome(Report("nightly", "", [StepReport("gold", (), "done", 1)]), 7) is None


@pytest.mark.parametrize(
    "step", [pytest.param(s, id=f"{p.name}-{s.name}") for p in read_pipelines(DEFINITION).values() for s in p.steps]
)
def test_every_command_of_the_definition_is_one_there_is(step: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where no stack runs it gets as far as looking for one: the command, its arguments and its job are known."""
    monkeypatch.setenv("DATAFORGE_DATA", str(tmp_path))
    done = CliRunner().invoke(build(step.run), list(step.run))
    assert isinstance(done.exception, StackError), done.output
    assert "no stack runs" in str(done.exception)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_person_sees_every_step_what_became_of_it_and_its_last_words(tmp_path: Path, terminal: bool):
    broken = Step("broken", ("fails", "9", str(tmp_path / "attempts")), retries=1, **_REST)
    pipeline = pipeline_of(
        Step("first", ("works",), **_REST), broken, Step("after", ("works",), needs=("broken",), **_REST)
    )
    report, output = planned(pipeline), io.StringIO()
    with shown(Console(file=output, force_terminal=terminal, width=100), pipeline, report) as watch:
        Run(pipeline, StackPaths(tmp_path), os.environ, watch, STEP).happen(report)
    said = output.getvalue()
    for word in ("first", "done", "broken", "failed", "attempt 2", "after", "skipped"):
        assert word in said


def test_airflows_lock_pins_everything_by_content_and_names_no_index():
    lines = (orchestration.ORCHESTRATION / "requirements.lock").read_text().splitlines()
    assert not [line for line in lines if "://" in line or line.startswith("-")]
    pins = [line for line in lines if line and line[0] not in " #"]
    assert all("==" in pin and pin.endswith("\\") for pin in pins), "each is followed by its hashes"


def test_a_pipeline_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(UsageError, match="there are: nightly, hourly"):
        chosen("weekly", DEFINITION)
    with pytest.raises(UsageError, match="no such file"):
        chosen("nightly", Path("/nowhere.yaml"))


def told(bootstrap: str) -> list[alerts.Alert]:
    async def read() -> list[alerts.Alert]:
        tp = TopicPartition(alerts.TOPIC, 0)
        async with RangeReader(bootstrap) as reader:
            end = (await reader.end_offsets([tp]))[tp]
            return [alerts.decode(r.value or b"") async for some in reader.read(tp, 0, end) for r in some]

    return asyncio.run(read())


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_command_beside_a_stack_alerts_clears_and_leaves_nothing(tmp_path: Path, watch: Any):
    """`dataforge lake nightly` as it is called, its steps real commands of `dataforge`."""
    left_behind, eventually = watch
    definition, report = tmp_path / "pipelines.yaml", tmp_path / "out" / "report.json"
    environment = os.environ | {"DATAFORGE_PIPELINES": str(definition), "DATAFORGE_DATA": str(tmp_path / "stack")}

    def write(second: str) -> None:
        definition.write_text(
            "pipelines: {nightly: {schedule: 1 2 * * *, why: a test, steps: {\n"
            "  first: {run: [status], why: it works},\n"
            f"  second: {{run: [{second}], needs: [first], retries: 1, backoff: 1ms, why: as it is}},\n"
            "  third: {run: [status], needs: [second], why: it works}}}}\n"
        )

    def nightly(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "devstack", "lake", "nightly", "--json", str(report), *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    with Stack.start(tmp_path / "stack", servers=("kafka",), services=(), tied=True) as stack:
        mine = {process.pid for process in left_behind(tmp_path)}
        kafka = stack.endpoints().kafka
        write("lake, run, platinum")
        failed = nightly()
        said, _ = failed.communicate(timeout=120)
        assert failed.returncode == 1, said
        steps = json.loads(report.read_text())["steps"]
        assert [(s["step"], s["status"], s["attempts"]) for s in steps] == [
            ("first", "done", 1), ("second", "failed", 2), ("third", "skipped", 0),
        ]  # fmt: skip
        assert "there is no job 'platinum'" in steps[1]["said"]
        [raised] = told(kafka)
        assert (raised.key, raised.state) == ("pipeline_failed/nightly", "raised")
        assert raised.details["failed"][0]["step"] == "second"
        assert "--from second" in raised.what_to_do
        assert raised.message in said.replace("\n", " ")

        write("status")
        mended = nightly("--from", "second")
        said, _ = mended.communicate(timeout=120)
        assert mended.returncode == 0, said
        assert [(alert.key, alert.state) for alert in told(kafka)[1:]] == [("pipeline_failed/nightly", "cleared")]

        write("logs, kafka, -n, '9999', -f")
        following = nightly()
        log = stack.paths.log("nightly-second")
        eventually(lambda: log.exists() and "Kafka Server started" in log.read_text(), within_s=120)
        following.send_signal(signal.SIGINT)
        said, _ = following.communicate(timeout=30)
        assert following.returncode == 130, said
        assert {process.pid for process in left_behind(tmp_path)} == mine
        assert len(told(kafka)) == 2, "who ended it knows"
