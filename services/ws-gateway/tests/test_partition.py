"""How a place in a token lies to what is known of a partition's feed."""

import pytest

from dataforge.state.model import FeedEntry

from ws_gateway.partition import Partition, Where
from ws_gateway.place import At


def entry(n: int, claim: str, prev: str) -> FeedEntry:
    return FeedEntry(0, f"{n}-0", claim, prev, True, n, 1, n, {}, [], [])


@pytest.fixture
def partition() -> Partition:
    """Known from 2 on: 3 by owner a, 4 and 6 by owner b."""
    part = Partition("t|10|", None)
    part.since = "2-0 a"
    part.at = At("2-0 a", 1)
    for n, claim, prev in ((3, "a", "2-0 a"), (4, "b", "3-0 a"), (6, "b", "4-0 b")):
        assert part.apply([entry(n, claim, prev)]) == []
    return part


@pytest.mark.parametrize(
    ("cursor", "where"),
    [
        ("", Where.OLDER),
        ("1-0 a", Where.OLDER),
        ("2-0 a", Where.KNOWN),
        ("2-0 b", Where.ELSEWHERE),
        ("3-0 a", Where.KNOWN),
        ("3-0 b", Where.ELSEWHERE),
        ("4-0 b", Where.KNOWN),
        ("5-0 a", Where.ELSEWHERE),
        ("6-0 b", Where.KNOWN),
        ("6-0 a", Where.ELSEWHERE),
        ("7-0 b", Where.AHEAD),
    ],
)
def test_a_place_is_known_by_its_order_and_by_who_wrote_there(partition: Partition, cursor: str, where: Where):
    assert partition.where(cursor) is where


def test_nobody_wrote_between_what_was_read_and_the_first_commit_after_it():
    part = Partition("t|10|", None)
    part.since = "2-0 a"
    part.at = At("2-0 a", 1)
    part.apply([entry(6, "b", "2-0 a")])
    assert part.where("4-0 a") is Where.ELSEWHERE


def test_what_was_recalled_is_known(partition: Partition):
    partition.recalled("", [((1, 0), "z"), ((2, 0), "a")])
    known = {cursor: partition.where(cursor) for cursor in ("", "1-0 z", "1-0 a", "2-0 a", "2-0 z", "3-0 a", "6-0 b")}
    assert [cursor for cursor, where in known.items() if where is Where.ELSEWHERE] == ["1-0 a", "2-0 z"]
    assert Where.OLDER not in known.values()


def test_a_store_that_lost_what_is_held_is_behind(partition: Partition):
    assert not partition.is_ahead_of("6-0 b")
    assert not partition.is_ahead_of("8-0 c")
    assert partition.is_ahead_of("6-0 c")
    assert partition.is_ahead_of("4-0 b")
    assert partition.is_ahead_of("")
