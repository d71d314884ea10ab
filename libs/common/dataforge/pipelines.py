"""What is done to the lake again and again, as data: pipelines of steps, each a `dataforge` command.

Whoever runs them (`dataforge lake nightly`, Airflow) takes order, retries and limits from here. Beside PyYAML it needs
no package, so that it can be read where none of the platform's are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from dataforge.contracts.document import Node, Section, read_document
from dataforge.contracts.names import NAME_RULE, duration_ms, is_name
from dataforge.contracts.problems import Problem, Problems, suggestion
from dataforge.errors import DataForgeError

RETRIES, BACKOFF_S, TIMEOUT_S = 2, 30.0, 7200.0
"""Of a step that does not say."""
BACKOFF_MOST_S = 600.0


class PipelinesError(DataForgeError):
    """A definition that cannot be used. Lists everything that is wrong with it, by file and line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.line)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class Step:
    """One command. It may be run again at any time, also after it was killed half-way."""

    name: str
    run: tuple[str, ...]
    """Arguments of `dataforge`."""
    why: str
    needs: tuple[str, ...] = ()
    """Steps that must be done before."""
    retries: int = RETRIES
    """Attempts beyond the first."""
    backoff_s: float = BACKOFF_S
    timeout_s: float = TIMEOUT_S
    """Of one attempt."""

    def pause_s(self, failed: int) -> float:
        """How long to wait after so many attempts that failed: doubled each time."""
        return min(self.backoff_s * 2 ** (failed - 1), BACKOFF_MOST_S)


@dataclass(frozen=True, slots=True)
class Pipeline:
    name: str
    schedule: str
    """When it is due: five fields of cron, UTC."""
    why: str
    steps: tuple[Step, ...]
    """As in the file, but each after all that it needs."""


def read_pipelines(file: Path) -> dict[str, Pipeline]:
    """By name. *Raises* `PipelinesError` with all that is wrong."""
    problems = Problems()
    root = read_document(file, problems)
    found: dict[str, Pipeline] = {}
    if root is not None:
        top = Section(root, file.name, problems)
        if (entries := top.section("pipelines")) is not None:
            found = {name: _pipeline(name, node, problems) for name, node in entries}
        top.finish("pipelines")
    if not found and not problems.found:
        problems.add(file, 0, "there is no such file, or no pipeline in it")
    if problems.found:
        raise PipelinesError(problems.found)
    return found


def _pipeline(name: str, node: Node, problems: Problems) -> Pipeline:
    entry = Section(node, f"pipeline {name!r}", problems)
    _demand_name(name, entry)
    schedule: Any = entry.scalar("schedule", str)
    why: Any = entry.scalar("why", str)
    if schedule is not None and len(schedule.split()) != 5:
        entry.problem(f"'schedule' is five fields of cron, like 15 2 * * *, not {schedule!r}", entry.get("schedule"))
    steps: dict[str, Step] = {}
    if (written := entry.section("steps")) is not None:
        steps = {name: _step(name, node, problems) for name, node in written}
        for step in steps.values():
            needs = written.entries[step.name].at(["needs"])
            for other in step.needs:
                if other not in steps:
                    entry.problem(f"step {step.name!r} needs {other!r}, which is none{suggestion(other, steps)}", needs)
    if not steps:
        entry.problem(f"pipeline {name!r} has no 'steps'")
    entry.finish()
    return Pipeline(name, str(schedule), str(why), _ordered(steps, entry))


def _step(name: str, node: Node, problems: Problems) -> Step:
    entry = Section(node, f"step {name!r}", problems)
    _demand_name(name, entry)
    run, needs = _texts(entry, "run"), _texts(entry, "needs")
    why: Any = entry.scalar("why", str)
    if not run:
        entry.problem(f"step {name!r} needs 'run', the arguments of `dataforge`: [lake, run, gold]")
    retries: Any = entry.scalar("retries", int, RETRIES)
    if retries < 0:
        entry.problem(f"step {name!r}: 'retries' is 0 or more, not {retries}", entry.get("retries"))
    backoff_s, timeout_s = _seconds(entry, "backoff", BACKOFF_S), _seconds(entry, "timeout", TIMEOUT_S)
    entry.finish()
    return Step(name, run, str(why), needs, retries, backoff_s, timeout_s)


def _demand_name(name: str, entry: Section) -> None:
    if not is_name(name):
        entry.problem(f"{name!r}: a name is {NAME_RULE}")


def _texts(entry: Section, key: str) -> tuple[str, ...]:
    nodes = entry.sequence(key)
    for node in nodes:
        if not isinstance(node.value, str):
            entry.problem(f"{entry.what}: {key!r} is a list of texts; {node.plain!r} is none", node)
    return tuple(str(node.plain) for node in nodes)


def _seconds(entry: Section, key: str, default: float) -> float:
    text = entry.scalar(key, str, None)
    value_ms = duration_ms(text)
    if text is not None and value_ms is None:
        entry.problem(f"{entry.what}: {key!r} is a duration like 30s or 2h, not {text!r}", entry.get(key))
    return value_ms / 1000 if value_ms else default


def _ordered(steps: Mapping[str, Step], entry: Section) -> tuple[Step, ...]:
    """Each after all that it needs; else as in the file. A cycle is a problem."""
    known = {name: [other for other in step.needs if other in steps] for name, step in steps.items()}
    try:
        TopologicalSorter(known).prepare()
    except CycleError as error:
        around: list[str] = error.args[1]
        at = entry.node.at(["steps", around[0], "needs"])
        entry.problem(f"steps that need each other: {' before '.join(around)}", at)
        return ()
    ordered: dict[str, Step] = {}
    while len(ordered) < len(steps):
        ready = next(name for name in steps if name not in ordered and all(other in ordered for other in known[name]))
        ordered[ready] = steps[ready]
    return tuple(ordered.values())
