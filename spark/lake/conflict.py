"""Commits that are refused because another was there first: done again, from where the table is now.

The only layer that does so for jobs (DESIGN R8); the stream looks again in its next round. Iceberg itself repeats the
swap of a table's metadata, never the work.
"""

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from lake.failures import Refused, named

T = TypeVar("T")

_TRIES = 8


def again(step: Callable[[], T], say: Callable[[str], None]) -> T:
    """`step` reads where the table is, works and commits: all or nothing. It is done anew where its commit is refused.

    *Raises* what the last of the tries raises; at once what is no refusal.
    """

    def once() -> T:
        with named():
            return step()

    def told(state: RetryCallState) -> None:
        say(f"another commit came first: again from there ({state.outcome and state.outcome.exception()})")

    retrying = Retrying(
        retry=retry_if_exception_type(Refused),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        stop=stop_after_attempt(_TRIES),
        before_sleep=told,
        reraise=True,
    )
    return retrying(once)
