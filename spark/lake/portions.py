"""Work taken a portion at a time. Pure."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def portions(sizes: Iterable[tuple[T, int]], most: int, many: int | None = None) -> Iterator[list[T]]:
    """The things in order, so many at once that their sizes are `most` together, and they are `many`, at most; but one
    at least.

    `sizes`: each with its size.
    """
    portion, held = list[T](), 0
    for one, size in sizes:
        if portion and (held + size > most or len(portion) == many):
            yield portion
            portion, held = [], 0
        portion.append(one)
        held += size
    if portion:
        yield portion
