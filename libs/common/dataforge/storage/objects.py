"""An object store, as far as the platform needs one."""

from collections.abc import AsyncIterator
from typing import Protocol


class ObjectStore(Protocol):
    """Whole objects under keys.

    *Guarantees*: an object is there whole or not at all, and once there it never changes; of all writers that
    put a key, one creates it and the others are told that it exists; a list holds every object whose put was
    acknowledged before the list began, in the order of keys. It may also hold names that the store made up for
    puts in progress or torn by a crash (`<key>-<uuid>`): take only names you could have written.

    *Raises* `Transient` where the store does not answer. A put may then have happened or not, and may even
    still happen later: put the same bytes under the same key again.
    """

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        """True where this call, or an earlier try within it, may have created the object; False where it exists.

        After a timed-out try that did succeed, the answer is False for the caller's own object: compare.
        """
        ...

    async def get(self, key: str) -> bytes:
        """*Raises* KeyError where there is none."""
        ...

    async def tail(self, key: str, size: int) -> bytes:
        """The last `size` bytes, or all where there are fewer. *Raises* KeyError."""
        ...

    def list(self, prefix: str, start_after: str = "") -> AsyncIterator[str]:
        """Keys with the prefix that sort after `start_after`, in order."""
        ...
