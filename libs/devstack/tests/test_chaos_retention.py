"""What retention may take: what is landed, beyond its reader, and known to those who look on."""

from devstack.chaos.faults.retention import deletable


def test_of_what_is_landed_the_onlookers_must_have_read_all_that_goes() -> None:
    landed, read = {0: 100, 1: 100, 2: 100}, {0: 90, 1: 90, 2: 90}
    assert deletable(landed, read, {0: 95, 1: 200}) == {0: 95, 1: 100}
    assert deletable(landed, read, {0: 90, 1: 80}) == {}


def test_without_onlookers_all_that_is_landed_goes() -> None:
    assert deletable({0: 100, 1: 40}, {0: 90, 1: 40}, None) == {0: 100}
