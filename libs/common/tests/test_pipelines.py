"""What a definition means, and that whoever wrote one wrongly is told where."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge.pipelines import BACKOFF_MOST_S, Pipeline, PipelinesError, Step, read_pipelines

HEAD = """pipelines:
  nightly:
    schedule: 15 2 * * *
    why: history is whole
    steps:
"""


def read(tmp_path: Path, steps: str, head: str = HEAD) -> Pipeline:
    file = tmp_path / "pipelines.yaml"
    file.write_text(head + steps)
    return read_pipelines(file)["nightly"]


def problems_of(tmp_path: Path, steps: str, head: str = HEAD) -> list[tuple[int, str]]:
    with pytest.raises(PipelinesError) as error:
        read(tmp_path, steps, head)
    return [(problem.line, problem.message) for problem in error.value.problems]


def test_a_whole_definition(tmp_path: Path) -> None:
    pipeline = read(
        tmp_path,
        """      gold: {run: [lake, run, gold], why: the KPIs, needs: [bronze], retries: 0, backoff: 250ms, timeout: 1h}
      bronze: {run: [lake, run, bronze], why: every record}
""",
    )
    assert (pipeline.name, pipeline.schedule, pipeline.why) == ("nightly", "15 2 * * *", "history is whole")
    assert pipeline.steps == (
        Step("bronze", ("lake", "run", "bronze"), "every record"),
        Step("gold", ("lake", "run", "gold"), "the KPIs", ("bronze",), 0, 0.25, 3600.0),
    )


@pytest.mark.parametrize(
    ("steps", "line", "says"),
    [
        ("      a: {run: [x], why: w, needs: [bb]}\n      b: {run: [x], why: w}", 6, "'bb', which is none; did you"),
        ("      a: {run: [x], why: w}\n      a: {run: [x], why: w}", 7, "'a' is there twice"),
        ("      a: {run: [x], why: w, needs: [a]}", 6, "a before a"),
        ("      a: {why: w}", 6, "needs 'run'"),
        ("      a: {run: [x, 1], why: w}", 6, "1 is none"),
        ("      a: {run: [x]}", 6, "needs 'why'"),
        ("      a: {run: [x], why: w, retries: -1}", 6, "'retries' is 0 or more"),
        ("      a: {run: [x], why: w, retries: two}", 6, "'retries' must be a whole number"),
        ("      a: {run: [x], why: w, timeout: 1y}", 6, "'timeout' is a duration"),
        ("      a: {run: [x], why: w, backoff: 3}", 6, "'backoff' must be text"),
        ("      a: {run: [x], why: w, colour: red}", 6, "has no 'colour'"),
        ("      A b: {run: [x], why: w}", 6, "a name is"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, steps: str, line: int, says: str) -> None:
    problems = problems_of(tmp_path, steps)
    assert [(at, says in message) for at, message in problems] == [(line, True)], problems


def test_a_cycle_is_named_whole(tmp_path: Path) -> None:
    steps = (
        "      a: {run: [x], why: w, needs: [c]}\n"
        "      b: {run: [x], why: w, needs: [a]}\n"
        "      c: {run: [x], why: w, needs: [b]}\n"
        "      d: {run: [x], why: w, needs: [c]}\n"
    )
    [(_, message)] = problems_of(tmp_path, steps)
    around = message.partition(": ")[2].split(" before ")
    assert (set(around), around[0]) == ({"a", "b", "c"}, around[-1])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no pipeline"),
        ("pipelines: {}", "no pipeline"),
        ("pipelines: {nightly: {schedule: daily, why: w, steps: {a: {run: [x], why: w}}}}", "five fields of cron"),
        ("pipelines: {nightly: {schedule: 1 2 * * *, why: w}}", "has no 'steps'"),
        ("pipelines: {nightly: {schedule: 1 2 * * *, steps: {a: {run: [x], why: w}}}}", "needs 'why'"),
        ("pipelines: [", "not valid YAML"),
    ],
)
def test_what_is_no_definition_is_refused(tmp_path: Path, text: str, says: str) -> None:
    assert any(says in message for _, message in problems_of(tmp_path, "", text))
    with pytest.raises(PipelinesError, match="no such file"):
        read_pipelines(tmp_path / "none.yaml")


@given(
    st.permutations([f"s{n}" for n in range(6)]),
    st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(lambda edge: edge[0] < edge[1])),
)
def test_every_step_comes_after_all_it_needs_and_none_is_lost(
    tmp_path_factory: pytest.TempPathFactory, written: list[str], edges: set[tuple[int, int]]
) -> None:
    needs = {name: [f"s{before}" for before, after in sorted(edges) if f"s{after}" == name] for name in written}
    lines = (f"      {name}: {{run: [x], why: w, needs: [{', '.join(of)}]}}\n" for name, of in needs.items())
    names = [step.name for step in read(tmp_path_factory.mktemp("drawn"), "".join(lines)).steps]
    assert sorted(names) == sorted(written)
    assert all(names.index(before) < names.index(name) for name, of in needs.items() for before in of)
    if all(written.index(before) < written.index(name) for name, of in needs.items() for before in of):
        assert names == list(written), "an order that holds is not changed"


def test_pauses_double_up_to_a_limit() -> None:
    step = Step("a", ("x",), "w", backoff_s=30.0)
    assert [step.pause_s(failed) for failed in (1, 2, 3)] == [30.0, 60.0, 120.0]
    assert step.pause_s(50) == BACKOFF_MOST_S
