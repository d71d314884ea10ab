"""Sharing notes what there was to share, for each member's own topics."""

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from dataforge.stream.assignor import Assignor


class Cluster:
    def __init__(self, **partitions: int) -> None:
        self.partitions = partitions

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self.partitions[topic])) if topic in self.partitions else None


def dealt(cluster: Cluster, **topics: list[str]) -> dict[str, Assignor]:
    """Members after a sharing, which the first one led."""
    members = {name: Assignor() for name in topics}
    leader = next(iter(members.values()))
    assignments = leader.assign(cluster, {name: members[name].metadata(topics[name]) for name in topics})
    for name, member in members.items():
        member.on_assignment(assignments[name])
    return members


def test_nothing_differs_before_the_first_sharing_and_after_one_of_the_same() -> None:
    cluster = Cluster(a=2, b=1)
    assert not Assignor().differs(cluster, ["a"])
    one, two = dealt(cluster, one=["a", "b"], two=["b", "a"]).values()
    assert not one.differs(cluster, ["b", "a"])
    assert not two.differs(cluster, ["a", "b"])


def test_a_topic_that_was_away_differs_once_it_is_back_and_when_it_grows() -> None:
    (member,) = dealt(Cluster(a=2), one=["a", "b"]).values()
    assert not member.differs(Cluster(a=2), ["a", "b"])
    assert member.differs(Cluster(a=2, b=1), ["a", "b"])
    assert member.differs(Cluster(a=3), ["a", "b"])


def test_a_leader_that_leaves_no_note_is_of_another_release() -> None:
    member = Assignor()
    member.on_assignment(ConsumerProtocolMemberAssignment(0, [], b""))
    assert not member.differs(Cluster(a=1), ["a"])


def test_members_of_two_releases_mind_their_own_topics_only() -> None:
    cluster = Cluster(a=2, b=1)
    old, new = dealt(cluster, old=["a"], new=["a", "b"]).values()
    assert not old.differs(cluster, ["a"])
    assert not new.differs(cluster, ["a", "b"])


def test_asking_makes_the_next_join_another() -> None:
    member = Assignor()
    before = member.metadata(["a"])
    assert before.encode() == member.metadata(["a"]).encode()
    member.ask()
    assert before.encode() != member.metadata(["a"]).encode()
