"""The screen of a live client: what is on it after which frames, and what it does not put up with."""

from typing import Any

import pytest

from devstack.oracle.live import BrokenPromise, Screen


def row(start: str, value: float, **labels: str) -> dict[str, Any]:
    return {"start": start, "labels": labels, "value": value}


def frame(kind: str, at: int, rows: list[dict[str, Any]] | None = None, gone: list[str] | None = None) -> Any:
    place = {"type": kind, "token": f"t{at}", "next": {"0": at}, "watermark": None}
    return (
        place
        if kind == "heartbeat"
        else place | {"rows": rows or []} | ({"gone": gone or []} if gone else {"gone": []})
    )


def shown(screen: Screen) -> dict[tuple[str, str], float]:
    return {at: one["value"] for at, one in screen.rows.items()}


def test_rows_are_replaced_by_start_and_labels_and_leave_when_gone() -> None:
    screen = Screen()
    screen.apply(frame("snapshot", 1, [row("10:00", 1, store="a", town="x"), row("10:01", 2, store="a", town="x")]))
    screen.apply(
        frame("delta", 2, [row("10:01", 5, town="x", store="a"), row("10:02", 7, store="b", town="x")], ["10:00"])
    )
    a, b = '{"store":"a","town":"x"}', '{"store":"b","town":"x"}'
    assert shown(screen) == {("10:01", a): 5, ("10:02", b): 7}
    assert (screen.token, screen.next) == ("t2", {0: 2})


def test_what_is_gone_goes_before_what_is_new() -> None:
    screen = Screen()
    screen.apply(frame("snapshot", 1, [row("10:00", 1, store="a"), row("10:00", 1, store="b")]))
    screen.apply(frame("delta", 2, [row("10:00", 2, store="b")], ["10:00"]))
    assert shown(screen) == {("10:00", '{"store":"b"}'): 2}


def test_a_snapshot_replaces_everything_and_may_go_back() -> None:
    screen = Screen()
    screen.apply(frame("snapshot", 5, [row("10:00", 1)]))
    screen.apply(frame("snapshot", 3, [row("10:01", 1)]))
    assert shown(screen) == {("10:01", "{}"): 1}
    assert screen.next == {0: 3}


@pytest.mark.parametrize("kind", ["delta", "heartbeat"])
def test_a_change_that_covers_less_than_is_shown_is_no_change(kind: str) -> None:
    screen = Screen()
    with pytest.raises(BrokenPromise):
        screen.apply(frame(kind, 5))
    screen.apply(frame("snapshot", 5))
    screen.apply(frame(kind, 5))
    with pytest.raises(BrokenPromise):
        screen.apply(frame(kind, 4))
