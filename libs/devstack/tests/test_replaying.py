"""What people type for shares and rates."""

import pytest

from devstack.commands.replaying import pace, share
from devstack.errors import UsageError


@pytest.mark.parametrize(("text", "value"), [("1%", 0.01), ("0.5%", 0.005), ("0.02", 0.02), ("0", 0.0), ("100%", 1.0)])
def test_shares(text: str, value: float) -> None:
    assert share(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "%", "-1%", "101%", "1.5", "nan", "one"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        share(text)


def test_rates() -> None:
    assert pace("1000") == 1000
    assert pace("max") is None
    assert pace(None) is None
    for text in ("0", "-5", "fast", "nan"):
        with pytest.raises(UsageError):
            pace(text)
