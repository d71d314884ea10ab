"""What a worker does with one assigned partition: the seam between Faust and everything else."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from dataforge.stream.origin import Bounds, Origin
from dataforge.stream.records import Record, RecordBatch, TopicPartition


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

    @property
    def origin(self) -> Origin:
        """Once open: the log that the position was reached in; without a position, the log as it was seen.

        The runtime compares it with the log before anything is taken (DESIGN R6b).
        """
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


class Log(Protocol):
    """What the runtime asks a log beside its batches.

    *Raises* `Transient` where it does not answer, `Fatal` where a topic does not exist.
    """

    async def bounds(self, tp: TopicPartition) -> Bounds:
        """Cheap for many partitions at once."""
        ...

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, bytes]: ...

    async def record_at(self, tp: TopicPartition, offset: int) -> Record | None:
        """None where the log holds none at this offset, or no longer holds it."""
        ...


class Landed(NamedTuple):
    """Records read back from a chain, and the id of the topic they were landed from."""

    topic_id: bytes
    batch: RecordBatch


class History(Protocol):
    """The older half of a log: what retention may have removed from it (DESIGN R5)."""

    def read(self, tp: TopicPartition, offset: int) -> AsyncGenerator[Landed, None]:
        """What is landed from `offset` on, in order, without gap or overlap; nothing where it ends before that.

        *Raises* `Transient` where the store does not answer, `Fatal` where it is incomplete or damaged.
        """
        ...


OpenPartition = Callable[[TopicPartition], PartitionWork]


@dataclass(frozen=True, slots=True)
class Source:
    """Topics and what to do with each of their partitions. One Faust agent per source.

    With a `log`, a partition's position is compared with it at each assignment; with a `history`, a position that
    the log no longer holds is read on from there, until the log holds what follows.
    """

    name: str
    topics: Sequence[str]
    open_partition: OpenPartition
    log: Log | None = None
    history: History | None = None
