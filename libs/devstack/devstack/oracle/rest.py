"""What a record holds beside its value, as one number: all readers of the same record agree on it."""

from collections.abc import Iterable
from zlib import crc32


def rest_of(key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> int:
    """crc32 of the key, of the headers in their order, and of whether there is a value: a tombstone is not empty."""
    return crc32(repr((key, value is None, list(headers))).encode())
