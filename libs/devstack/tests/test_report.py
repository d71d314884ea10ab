"""The identities of the report: each of them can fail."""

from typing import Any

import msgspec
import pytest

from devstack.demo.lake import LakeReport, contradictions
from devstack.demo.report import disagreements, identities
from devstack.oracle.compare import Comparison

GOOD: dict[str, Any] = {
    "received": 10,
    "landed": 10,
    "judged": {"valid": 7, "quarantined": 2, "undecodable": 1},
    "ledger": {"valid": 7, "quarantined": 2, "undecodable": 1, "counted": 5, "duplicate": 1, "late": 1},
    "expected": {"counted": 5, "duplicate": 1, "late": 1},
}


def test_nothing_is_wrong_where_all_add_up() -> None:
    assert identities(**GOOD) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"landed": 9},
        {"received": 11, "landed": 11},
        {"judged": {"valid": 7, "quarantined": 1, "undecodable": 1}},
        {"judged": {"valid": 7, "quarantined": 1, "undecodable": 2}},
        {"ledger": GOOD["ledger"] | {"late": 2}},
        {"ledger": GOOD["ledger"] | {"late": 2, "counted": 4}},
        {"expected": {"counted": 6, "duplicate": 0, "late": 1}},
    ],
)
def test_every_imbalance_is_named(wrong: dict[str, Any]) -> None:
    assert identities(**(GOOD | wrong)) != []


def test_a_lake_that_has_less_or_compares_otherwise_is_named() -> None:
    lake = LakeReport(
        streamed=5, rows={"bronze": 10}, compared=9, equal=8, corrected=0, explained=1, unexplained=0, first=[],
        elapsed_s=1.0,
    )  # fmt: skip
    assert contradictions(lake, 10) == []
    assert contradictions(lake, 11) == ["does not hold: received 11 = rows of bronze 10"]
    assert len(contradictions(msgspec.structs.replace(lake, unexplained=1), 10)) == 1
    assert len(contradictions(msgspec.structs.replace(lake, compared=0), 10)) == 1


def test_windows_that_differ_or_are_absent_are_named() -> None:
    assert disagreements(Comparison(3, 3, 0, 0, 0, {})) == []
    assert disagreements(Comparison(3, 0, 1, 1, 1, {})) == [
        "1 of 3 windows are different",
        "1 of 3 windows are missing",
        "1 of 3 windows are extra",
    ]
    assert disagreements(Comparison(0, 0, 0, 0, 0, {})) == ["no window was compared"]
