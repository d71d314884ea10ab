import pytest

from devstack.commands.up import headline, select
from devstack.errors import UsageError
from devstack.model import LAKE, SERVERS, SERVICES, Wanted


def names(specs: object) -> list[str]:
    return [s.name for s in specs]  # pyright: ignore[reportGeneralTypeIssues]


def test_everything_runs_unless_something_is_named():
    chosen = select(None, [], [])
    assert chosen.servers == SERVERS
    assert chosen.services == SERVICES


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (None, "The stack is up."),
        (("/d/shop", "/d/bank"), "has what was asked for"),
        (("/d/shop",), "was given[/] bank."),
    ],
)
def test_adding_a_domain_is_told_from_finding_a_stack(before: tuple[str, ...] | None, told: str):
    assert told in headline(before, ("/d/shop", "/d/bank"))


def test_only_what_is_named_runs():
    chosen = select(None, ["servers", "aggregator"], ["aggregator=3"])
    assert chosen.servers == SERVERS
    assert [(s.name, s.instances) for s in chosen.services] == [("aggregator", 3)]


def test_the_lake_runs_where_it_is_asked_for_and_is_kept():
    chosen = select(None, [], [], ["lake"])
    assert chosen.services == (*SERVICES, LAKE)
    assert select(Wanted(1, services=chosen.services), [], []).services == chosen.services
    assert names(select(None, ["servers"], [], ["lake"]).services) == ["lake"]
    with pytest.raises(UsageError, match="--with takes lake, not 'lakes'"):
        select(None, [], [], ["lakes"])


def test_a_running_stack_keeps_what_it_has():
    running = Wanted(1, servers=("kafka",), services=select(None, ["query-api"], []).services)
    chosen = select(running, ["aggregator"], [])
    assert chosen.servers == ("kafka",)
    assert names(chosen.services) == ["aggregator", "query-api"]


def test_a_scale_once_given_is_kept():
    running = Wanted(1, services=select(None, [], ["aggregator=2"]).services)
    assert {s.name: s.instances for s in select(running, [], []).services}["aggregator"] == 2


@pytest.mark.parametrize(("only", "scale"), [(["kafkaa"], []), ([], ["kafka=2"]), ([], ["aggregator=0"]), ([], ["x"])])
def test_nonsense_is_refused_by_name(only: list[str], scale: list[str]):
    with pytest.raises(UsageError, match=(only or scale)[0]):
        select(None, only, scale)
