"""Which landing objects come next: the chain of each judged partition, from where a table stands (DESIGN R5)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dataforge.errors import Fatal
from dataforge.storage.chain import Chain
from dataforge.storage.landing_file import Footer
from dataforge.storage.s3 import S3Store

from lake.position import Place
from lake.settings import LakeSettings

_FOOTERS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where the objects are. A plain value: workers open a store of their own from it."""

    name: str
    endpoint: str | None
    region: str

    @classmethod
    def of(cls, settings: LakeSettings) -> "Bucket":
        return cls(settings.s3_bucket, settings.s3_endpoint, settings.s3_region)

    def store(self) -> S3Store:
        return S3Store(self.name, endpoint=self.endpoint, region=self.region)


class Landed(NamedTuple):
    """One object of a chain."""

    key: str
    footer: Footer


async def beyond(chain: Chain, place: Place, rows: int) -> list[Landed]:
    """The chain's next objects, until they hold `rows` rows or the chain ends. Whole objects: at least one if any.
    The first may begin before the place: what follows the log itself stops anywhere.

    *Raises* `Fatal` where the chain does not go on at the place, has a hole, or is of another topic.
    """
    found: list[Landed] = []
    start = await chain.start_of(place.position)
    due, topic_id, held = place.position if start is None else start, place.topic_id, 0
    async for starts in _pages(chain.starts(due - 1)):
        keys = [chain.key(start) for start in starts]
        for start, key, footer in zip(starts, keys, await _footers(chain, keys), strict=True):
            if start != due:
                raise Fatal(f"{chain.prefix}: an object is due at {due}, and the next one starts at {start}")
            if (footer.start, f"landing/{footer.topic}/{footer.partition}/") != (start, chain.prefix):
                raise Fatal(f"{key} says it is {footer.topic}/{footer.partition} from {footer.start}")
            if topic_id not in ("", footer.topic_id):
                raise Fatal(f"{key} is of topic {footer.topic_id}, and what was read before is of {topic_id}")
            due, topic_id = footer.next, footer.topic_id
            if footer.next <= place.position:
                continue
            found.append(Landed(key, footer))
            held += footer.count
            if held >= rows:
                return found
    return found


async def _footers(chain: Chain, keys: Sequence[str]) -> list[Footer]:
    return list(await asyncio.gather(*(chain.footer(key) for key in keys)))


async def _pages(starts: AsyncIterator[int]) -> AsyncIterator[list[int]]:
    page: list[int] = []
    async for start in starts:
        page.append(start)
        if len(page) == _FOOTERS_AT_ONCE:
            yield page
            page = []
    if page:
        yield page


def landed_ends(bucket: Bucket, topic: str, partitions: int) -> dict[int, int]:
    """Partition -> where its chain ends. *Raises* `Transient` where the store does not answer."""

    async def look() -> dict[int, int]:
        store = bucket.store()
        await store.open()
        try:
            return {p: (await Chain(store, topic, p).end()).next for p in range(partitions)}
        finally:
            await store.close()

    return asyncio.run(look())


def next_objects(bucket: Bucket, topic: str, places: Sequence[Place], rows: int) -> list[Landed]:
    """For each partition of a topic, in their order: what is landed beyond its place, about `rows` rows in all.

    *Raises* `Fatal`, `Transient` where the store does not answer.
    """

    async def look() -> list[Landed]:
        store = bucket.store()
        await store.open()
        try:
            share = max(1, rows // max(1, len(places)))
            chains = [Chain(store, topic, partition) for partition in range(len(places))]
            found = [await beyond(chain, place, share) for chain, place in zip(chains, places, strict=True)]
        finally:
            await store.close()
        return [landed for some in found for landed in some]

    return asyncio.run(look())
