"""Commits that are refused because another was there first: done again, from where the table is now.

The only layer that does so (DESIGN R8). Iceberg itself repeats the swap of a table's metadata, never the work.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

T = TypeVar("T")

_TRIES = 8
_ERRORS = "org.apache.iceberg.exceptions."
_REFUSED = (f"{_ERRORS}ValidationException", f"{_ERRORS}CommitFailedException")
_UNKNOWN = f"{_ERRORS}CommitStateUnknownException"


def again(step: Callable[[], T], say: Callable[[str], None]) -> T:
    """`step` reads where the table is, works and commits: all or nothing. It is done anew where its commit is refused.

    *Raises* what the last of the tries raises; at once what is no refusal.
    """

    def told(_: object) -> None:
        say("another commit came first: again from there")

    retrying = Retrying(
        retry=retry_if_exception(refused),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        stop=stop_after_attempt(_TRIES),
        before_sleep=told,
        reraise=True,
    )
    return retrying(step)


def refused(error: BaseException) -> bool:
    """Whether a commit was refused for what another did meanwhile. One whose result nobody knows was not."""
    cause: Any = getattr(error, "java_exception", None)
    while cause is not None:
        name = cause.getClass().getName()
        if name in _REFUSED or name == _UNKNOWN:
            return name != _UNKNOWN
        cause = cause.getCause()
    return False
