"""The schedule of a chaos run: seeded, complete, within its time."""

import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack.chaos.fault import Evidence, Kind, Stage
from devstack.chaos.kinds import KINDS
from devstack.chaos.schedule import LEAD_S, Planned, schedule
from devstack.paths import repo_root


@dataclass
class Nothing:
    kind: str
    victim: str
    evidence: Evidence = field(default_factory=dict)

    async def inject(self, stage: Stage) -> None: ...

    async def heal(self, stage: Stage) -> None: ...


def kind(name: str, weight: float = 1.0, least_s: float = 0.0, most_s: float = 0.0, *, final: bool = False) -> Kind:
    def draw(chosen: random.Random) -> Nothing:
        return Nothing(name, chosen.choice("abcdef"))

    return Kind(name, draw, weight, least_s, most_s, final=final)


SOME = {k.name: k for k in (kind("kill", 4), kind("zombie", 2, 8, 15), kind("cut", 1, 1, 40), kind("end", final=True))}


def facts(planned: list[Planned]) -> list[tuple[object, ...]]:
    return [(p.number, p.kind, p.fault.victim, p.at_s, p.duration_s, p.after_s) for p in planned]


@given(st.integers(0, 200), st.floats(0.5, 60), st.integers())
def test_the_same_seed_gives_the_same_schedule(faults: int, minutes: float, seed: int) -> None:
    assert facts(schedule(SOME, faults, minutes, seed)) == facts(schedule(SOME, faults, minutes, seed))


@given(st.integers(1, 200), st.floats(0.5, 60), st.integers())
def test_it_is_in_order_within_the_run_and_within_what_each_kind_allows(faults: int, minutes: float, seed: int) -> None:
    planned = schedule(SOME, faults, minutes, seed)
    assert [p.number for p in planned] == list(range(1, faults + 1))
    for p in planned:
        assert p.at_s >= LEAD_S
        assert SOME[p.kind].least_s <= p.duration_s <= max(SOME[p.kind].least_s, SOME[p.kind].most_s)
    for before, after in pairwise(planned):
        if after.after_s is None:
            assert after.number == 2 or after.at_s <= max(minutes * 60, LEAD_S)
        else:
            assert after.at_s == before.at_s + after.after_s
            assert after.after_s <= max(before.duration_s, 2)


@given(st.integers(4, 200), st.integers())
def test_every_kind_hits_at_least_once_and_the_final_one_once_and_last(faults: int, seed: int) -> None:
    planned = schedule(SOME, faults, 20, seed)
    counts = Counter(p.kind for p in planned)
    assert set(counts) == set(SOME)
    assert counts["end"] == 1
    assert planned[-1].kind == "end"


def test_weights_overlaps_and_seeds_make_a_difference() -> None:
    planned = schedule(SOME, 400, 80, 1)
    counts = Counter(p.kind for p in planned)
    assert counts["kill"] > counts["zombie"] > counts["cut"]
    assert 40 < sum(p.after_s is not None for p in planned) < 130
    assert facts(planned) != facts(schedule(SOME, 400, 80, 2))


def test_without_kinds_there_is_no_schedule() -> None:
    with pytest.raises(ValueError, match="no kinds"):
        schedule({}, 1, 1, 1)


def test_the_playbook_tells_of_every_kind() -> None:
    told = (repo_root() / "docs" / "chaos_testing.md").read_text()
    assert [name for name in KINDS if f"`{name}`" not in told] == []


def test_the_real_kinds_can_be_drawn() -> None:
    planned = schedule(KINDS, 3 * len(KINDS), 10, 5)
    assert {p.kind for p in planned} == set(KINDS)
