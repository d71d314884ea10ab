"""What query-api reads beside the state: Kafka and the object store. Both may be away."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from dataforge.contracts.model import Domain
from dataforge.ledger.book import KafkaBook
from dataforge.ledger.log_ends import KafkaEnds
from dataforge.ledger.observe import Observer
from dataforge.ledger.watch import LedgerWatch
from dataforge.state.redis import RedisState
from dataforge.storage.history import LandedHistory
from dataforge.storage.s3 import S3Store
from dataforge.stream.kafka_log import KafkaLog

from query_api.quality import Newest
from query_api.receipt.past import Past
from query_api.settings import ApiSettings

STORE_ANSWER_S = 3.0
"""A ledger is asked by people: it says soon that the store is away, instead of waiting for it."""


@asynccontextmanager
async def outside(
    settings: ApiSettings, domains: Sequence[Domain], state: RedisState
) -> AsyncIterator[tuple[Observer, LedgerWatch, Past, Newest]]:
    """Readers for the ledger, for receipts and for the lake's reports; the watch looks on until the end."""
    store = S3Store(
        settings.s3_bucket,
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        timeout_s=STORE_ANSWER_S,
        patience_s=STORE_ANSWER_S,
    )
    logs, book, log = KafkaEnds(settings.kafka), KafkaBook(settings.kafka), KafkaLog(settings.kafka)
    observer = Observer(state, store, logs)
    watch = LedgerWatch(
        observer, domains, logs=logs, book=book,
        limit_s=settings.ledger_limit_s, interval_s=settings.ledger_interval_s,
    )  # fmt: skip
    await store.open()
    looking = asyncio.create_task(watch.run())
    try:
        yield observer, watch, Past(log, LandedHistory(store)), Newest(store)
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        await book.close()
        await log.close()
        await logs.close()
        await store.close()
        await state.close()
