"""python -m query_api"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial

import uvicorn

from dataforge.contracts.load import load_domains
from dataforge.contracts.model import Domain
from dataforge.ledger.book import KafkaBook
from dataforge.ledger.log_ends import KafkaEnds
from dataforge.ledger.observe import Observer
from dataforge.ledger.watch import LedgerWatch
from dataforge.runtime.admin import AdminServer
from dataforge.runtime.logs import configure_logging
from dataforge.runtime.process import run
from dataforge.runtime.settings import load_settings
from dataforge.runtime.tracing import configure_tracing, stop_tracing
from dataforge.state.redis import RedisState
from dataforge.storage.history import LandedHistory
from dataforge.storage.s3 import S3Store
from dataforge.stream.kafka_log import KafkaLog

from query_api.app import build
from query_api.receipt.past import Past
from query_api.settings import ApiSettings

STORE_ANSWER_S = 3.0
"""A ledger is asked by people: it says soon that the store is away, instead of waiting for it."""


class Server(uvicorn.Server):
    """Leaves signals to `dataforge.runtime.process`."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def main(stop: asyncio.Event, settings: ApiSettings) -> None:
    domains, state = load_domains(settings.domain_folders), RedisState(settings.redis_url)
    async with outside(settings, domains, state) as (observer, watch, past):
        server = Server(
            uvicorn.Config(
                build(settings, domains, state, observer, watch, past),
                host=settings.host,
                port=settings.port,
                ws="none",  # an upgrade is answered by 426, not taken
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=5,
                server_header=False,
            )
        )
        # What is unbalanced is said and stops nobody: an API taken away would only hide it.
        remarks = {"ledger": watch.summary}
        admin = AdminServer(settings.admin_port, {"state": state.ping}, host=settings.admin_host, remarks=remarks)
        await admin.start()
        stopping = asyncio.create_task(_stop(stop, server))
        try:
            await server.serve()
        finally:
            stopping.cancel()
            await admin.stop()
            await asyncio.to_thread(stop_tracing)


@asynccontextmanager
async def outside(
    settings: ApiSettings, domains: Sequence[Domain], state: RedisState
) -> AsyncIterator[tuple[Observer, LedgerWatch, Past]]:
    """What is read of Kafka and the object store, both of which may be away; the watch looks on until the end."""
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
        yield observer, watch, Past(log, LandedHistory(store))
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        await book.close()
        await log.close()
        await logs.close()
        await store.close()
        await state.close()


async def _stop(stop: asyncio.Event, server: Server) -> None:
    await stop.wait()
    server.should_exit = True


if __name__ == "__main__":
    settings = load_settings(ApiSettings)
    configure_logging("query-api", settings.log_level)
    configure_tracing("query-api", settings.otlp_endpoint, instance=settings.instance)
    run(partial(main, settings=settings))
