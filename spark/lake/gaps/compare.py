"""What a table must hold beside what it holds, by hour or by day. Pure."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from lake.portions import portions as in_portions


class Key(Protocol):
    """What names a part of a table: a day, or a partition and an hour."""

    def __lt__(self, other: Any, /) -> bool: ...
    def __hash__(self) -> int: ...


K = TypeVar("K", bound=Key)


class Part(NamedTuple):
    """What is in an hour or a day."""

    rows: int
    check: int
    """A number that parts with the same rows share, and others hardly."""


NOTHING = Part(0, 0)


@dataclass(frozen=True, slots=True)
class Gaps(Generic[K]):
    """Of one table, as it was at one commit: the parts that are missing, incomplete, or hold what they must not."""

    rows: Mapping[K, tuple[int, int]]
    """Part -> rows it has, rows it must have."""
    fill: Callable[[Collection[K]], None]
    """Makes these parts anew, in one commit, which is refused where another has changed them since."""
    name: Callable[[K], str] = str


def differing(due: Mapping[K, Part], held: Mapping[K, Part]) -> dict[K, tuple[int, int]]:
    """Part -> (rows it has, rows it must have), in order."""
    parts = sorted(due.keys() | held.keys())
    found = {part: (held.get(part, NOTHING), due.get(part, NOTHING)) for part in parts}
    return {part: (has.rows, must.rows) for part, (has, must) in found.items() if has != must}


def portions(rows: Mapping[K, tuple[int, int]], most: int) -> Iterator[list[K]]:
    """The parts in order, so many at once that they must hold `most` rows, about; at least one."""
    return in_portions(((part, due) for part, (_, due) in rows.items()), most)
