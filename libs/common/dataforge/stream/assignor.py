"""How a group shares its partitions: round robin, with a note of which partitions there were to share.

A static member that comes back gets its last assignment again, and Kafka asks nobody to share. If that was the leader,
nobody watches for new partitions either. A topic that was away when the group last shared would then never be
assigned, however often its workers start. So each member compares what was shared with what there is, and asks for
another sharing where they differ.

*Source*: KIP-345; KIP-814, which aiokafka 0.14 does not have.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from zlib import crc32

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata


class Assignor(RoundRobinPartitionAssignor):
    """Round robin whose assignments say which partitions of a member's topics were shared. A consumer has its own."""

    def __init__(self) -> None:
        self._asked = 0
        self._shared = b""

    def differs(self, cluster: Any, topics: Iterable[str]) -> bool:
        """Were other partitions shared than the cluster has? Not before the first sharing, or where it left no note."""
        return bool(self._shared) and self._shared != _fingerprint(cluster, topics)

    def ask(self) -> None:
        """Let the next join differ from the last: Kafka answers one that says the same with the same assignment."""
        self._asked += 1

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:  # pyright: ignore
        return ConsumerProtocolMemberMetadata(self.version, sorted(topics), self._asked.to_bytes(4, "big"))

    def assign(  # pyright: ignore
        self, cluster: Any, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        return {
            member: ConsumerProtocolMemberAssignment(
                dealt.version, dealt.assignment, _fingerprint(cluster, members[member].subscription)
            )
            for member, dealt in super().assign(cluster, members).items()
        }

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:  # pyright: ignore
        self._shared = assignment.user_data


def _fingerprint(cluster: Any, topics: Iterable[str]) -> bytes:
    known = ",".join(f"{topic}:{len(cluster.partitions_for_topic(topic) or ())}" for topic in sorted(topics))
    return crc32(known.encode()).to_bytes(4, "big")
