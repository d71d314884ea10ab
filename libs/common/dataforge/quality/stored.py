"""Reports in the object store: one object each, the newest first in the order of keys."""

import re

from dataforge.quality.report import Report, Source, decode, encode, prefix
from dataforge.storage.objects import ObjectStore

_RUN = re.compile(r"\d{15}-\d+")
"""Names that a store makes up for puts in progress are none of ours."""


async def store_report(store: ObjectStore, report: Report) -> None:
    """*Guarantees*: storing it again changes nothing. *Raises* `Transient`, `Fatal`."""
    await store.put_if_absent(report.key, encode(report))


async def newest_reports(store: ObjectStore, event: str, source: Source, most: int = 1) -> list[Report]:
    """At most so many, the newest first. *Raises* `Transient`, `Fatal`."""
    found: list[Report] = []
    start = prefix(event, source)
    async for key in store.list(start):
        if len(found) == most:
            break
        if _RUN.fullmatch(key.removeprefix(start)):
            found.append(decode(await store.get(key)))
    return found
