"""What a worker does with one assigned partition: the seam between Faust and everything else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from dataforge.stream.records import RecordBatch, TopicPartition


class PartitionWork(Protocol):
    """One partition's work between assignment and revocation.

    *Guarantees the runtime gives*: `open` is awaited before anything else; `take` and `tick` never run
    at the same time; batches arrive in order without gap or overlap (`batch.start` equals the `next` of
    the batch before, or what `open` returned); after `close`, or once any of them has raised, nothing
    is called any more. An exception other than `Transient` ends the process with nothing committed.
    """

    @property
    def position(self) -> int:
        """Next offset whose work is not yet safe: reported to Kafka for lag tools, never read back."""
        ...

    async def open(self) -> int:
        """Claim and load. Returns the offset to seek to."""
        ...

    async def take(self, batch: RecordBatch) -> None:
        """Work on a batch. Returning does not mean it is safe; `position` says what is."""
        ...

    async def tick(self) -> None:
        """Called about every 50 ms: commits that are due, idle checks."""
        ...

    async def close(self) -> None:
        """The partition is going away in peace: make safe what can be made safe quickly."""
        ...


OpenPartition = Callable[[TopicPartition], PartitionWork]


@dataclass(frozen=True, slots=True)
class Source:
    """Topics and what to do with each of their partitions. One Faust agent per source."""

    name: str
    topics: Sequence[str]
    open_partition: OpenPartition
