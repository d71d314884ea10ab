"""Runs a pipeline on this machine: the steps in order, each tried as often as it says, the others skipped."""

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from tenacity import Retrying, retry_if_result, stop_after_attempt

from dataforge.pipelines import Pipeline, PipelinesError, Step, read_pipelines

from devstack.errors import UsageError
from devstack.paths import StackPaths
from devstack.pipelines.alone import alone
from devstack.pipelines.attempt import Ended, attempt
from devstack.pipelines.report import Report, StepReport
from devstack.processes import ProcessId

DATAFORGE = (sys.executable, "-m", "devstack")

Watch = Callable[[StepReport], None]
"""Called whenever something about a step has changed."""


def chosen(name: str, file: Path) -> Pipeline:
    """*Raises* `UsageError` where there is none of that name, or the definition is wrong."""
    try:
        pipelines = read_pipelines(file)
    except PipelinesError as error:
        raise UsageError(str(error)) from error
    if name not in pipelines:
        raise UsageError(f"there is no pipeline {name!r}; there are: {', '.join(pipelines)}")
    return pipelines[name]


def planned(pipeline: Pipeline, begin: str | None = None) -> Report:
    """The report of a run that has yet to begin, with `begin` at that step. *Raises* `UsageError`."""
    names = [step.name for step in pipeline.steps]
    if begin is not None and begin not in names:
        raise UsageError(f"{pipeline.name} has no step {begin!r}; in order: {', '.join(names)}")
    first = names.index(begin) if begin else 0
    steps = [
        StepReport(step.name, step.run, "waiting" if at >= first else "left_out")
        for at, step in enumerate(pipeline.steps)
    ]
    return Report(pipeline.name, datetime.now(UTC).isoformat(timespec="seconds"), steps)


class Run:
    """One run of a pipeline beside a stack.

    *Guarantees*: one at a time for a stack; nothing that a step started outlives it; a step is begun only after all
    that it needs are done.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        paths: StackPaths,
        env: Mapping[str, str],
        watch: Watch = lambda _: None,
        command: Sequence[str] = DATAFORGE,
    ) -> None:
        self._pipeline, self._paths, self._watch, self._command = pipeline, paths, watch, tuple(command)
        self._env = {**env, "DATAFORGE_DATA": str(paths.data), "PYTHONUNBUFFERED": "1"}

    def happen(self, report: Report) -> None:
        """Fills in what was `planned`. *Raises* `StackError` where another run goes on, `KeyboardInterrupt` where
        this process is asked to end (SIGINT, SIGTERM): nothing of it runs on then.
        """
        began_s = time.monotonic()
        lock = self._paths.of("pipelines") / f"{self._pipeline.name}.lock"
        with _interruptible(), alone(lock, self._pipeline.name) as started:
            of = {said.step: said for said in report.steps}
            for step in self._pipeline.steps:
                said = of[step.name]
                if said.status != "waiting":
                    continue
                if any(of[need].status not in ("done", "left_out") for need in step.needs):
                    said.status = "skipped"
                    self._watch(said)
                else:
                    self._do(step, said, started)
        report.seconds = round(time.monotonic() - began_s, 3)

    def _do(self, step: Step, said: StepReport, started: Callable[[ProcessId], None]) -> None:
        began_s = time.monotonic()
        log = self._paths.log(f"{self._pipeline.name}-{step.name}")
        said.log = str(log)

        def once() -> Ended:
            said.status, said.attempts = "running", said.attempts + 1
            self._watch(said)
            command = [*self._command, *step.run]
            ended = attempt(command, self._env, cwd=self._paths.data, log=log, limit_s=step.timeout_s, started=started)
            said.exit_code, said.said = ended
            said.seconds = round(time.monotonic() - began_s, 3)
            return ended

        def pause(_: object) -> None:
            said.status = "waiting"
            self._watch(said)

        ended = Retrying(
            retry=retry_if_result(lambda ended: not ended.well),
            stop=stop_after_attempt(step.retries + 1),
            wait=lambda state: step.pause_s(state.attempt_number),
            before_sleep=pause,
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )(once)
        said.status = "done" if ended.well else "failed"
        self._watch(said)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM is SIGINT, and the first is the last: ending takes a bounded time, and must come to its own end."""
    signals = (signal.SIGINT, signal.SIGTERM)

    def leave(number: int, frame: FrameType | None) -> None:
        for one in signals:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    # A program in the background of a shell ignores SIGINT, and is to go on doing so.
    before = {one: signal.signal(one, leave) for one in signals if signal.getsignal(one) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
