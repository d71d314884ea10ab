"""What is equal, what is explained, and what is neither."""

import pytest

from dataforge.state.model import PartitionRead

from lake.judge import Cell, Cells, Kept, agreed, sides

pytestmark = pytest.mark.small


def cell(label: str) -> Cell:
    return Cell("revenue", ("store",), 60_000, 0, (label,))


def agreement(live: dict[str, object], lake: dict[str, object], due: dict[str, object]):
    def cells(of: dict[str, object]) -> Cells:
        return {cell(label): value for label, value in of.items()}

    return agreed(sides(cells(live), cells(lake), lambda asked: {c: v for c, v in cells(due).items() if c in asked}))


def test_equal_windows_are_not_looked_at_twice():
    def never(_: object) -> Cells:
        raise AssertionError("nothing differs")

    found = agreed(sides({cell("a"): 1, cell("b"): None}, {cell("a"): 1, cell("b"): None}, never))
    assert (found.compared, found.equal, found.first) == (2, 2, [])


@pytest.mark.parametrize(
    ("live", "lake", "due", "explained"),
    [
        ({"a": 1}, {"a": 3}, {"a": 1}, True),  # late events are missing, as they must be
        ({"a": 2}, {"a": 3}, {"a": 1}, False),
        ({"a": 3}, {"a": 1}, {"a": 3}, True),  # a far repeat counted again
        ({}, {"a": 1}, {}, True),  # all its events were late
        ({}, {"a": 1}, {"a": 1}, False),  # the live row is lost
        ({"a": 1}, {}, {}, False),  # nobody sent that
        ({"a": 1}, {}, {"a": 1}, True),
        ({"a": None}, {}, {}, False),  # a row without a value is a row
    ],
)
def test_a_difference_is_explained_by_its_very_value(
    live: dict[str, object], lake: dict[str, object], due: dict[str, object], explained: bool
):
    found = agreement(live, lake, due)
    assert (found.explained, found.unexplained) == ((1, 0) if explained else (0, 1))
    assert [one.explained for one in found.first] == [explained]


def test_the_unexplained_are_named_first():
    live: dict[str, object] = {"zz": 7, **{f"{n:03d}": 1 for n in range(100)}}
    found = agreement(live, {}, dict[str, object](dict.fromkeys(live, 1)))
    assert (found.compared, found.explained, found.unexplained) == (101, 100, 1)
    assert found.first[0].labels == ("zz",)


@pytest.mark.parametrize(
    ("live", "lake", "due", "shown", "counted"),
    [
        (1, 1, None, 1, "equal"),
        (1, 3, 1, 3, "corrected"),
        (1, None, 1, None, "corrected"),  # the lake says that there is no such row
        (None, 3, None, 3, "corrected"),
        (1, 3, 1, 1, "explained"),
        (1, 3, 1, 2, "explained"),  # what was right when it was corrected
        (1, 1, None, 2, "explained"),  # the lake came back to what live has
        (2, 3, 1, 2, "unexplained"),
        (2, 3, 1, 3, "unexplained"),  # right by chance: still nobody knows why live is wrong
    ],
)
def test_each_cell_is_one_of_four(live: object, lake: object, due: object, shown: object, counted: str):
    def cells(value: object) -> Cells:
        return {} if value is None else {cell("a"): value}

    found = agreed(sides(cells(live), cells(lake), lambda _: cells(due), cells(shown)))
    said = {name: getattr(found, name) for name in ("equal", "corrected", "explained", "unexplained")}
    assert said == {**dict.fromkeys(said, 0), counted: 1}
    assert found.compared == 1
    assert len(found.first) == (counted in ("explained", "unexplained"))


def test_windows_are_compared_where_both_sides_stand_still():
    kept = Kept({0: 10, 1: 20}, {0: 5_000, 1: 9_000}, lateness_ms=1_000, ttl_ms=100_000)

    def reads(first: int, second: int, watermark: int = 9_000) -> list[PartitionRead]:
        return [PartitionRead(p, at, 0, watermark, "", "") for p, at in enumerate((first, second))]

    assert kept.holds(8_000, reads(10, 20)), "at the same records"
    assert kept.holds(4_000, reads(11, 20)), "sealed in every partition where the lake is"
    assert not kept.holds(4_001, reads(11, 20)), "open there"
    assert not kept.holds(4_000, reads(9, 20)), "the live numbers are behind"
    assert not kept.holds(4_000, reads(10, 20, watermark=104_000)), "expired"
