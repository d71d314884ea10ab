"""Queries over the lake: which catalog, which engine, which cache the settings name."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

from dataforge.contracts.model import Domain
from dataforge.kpi.catalogue import Catalogue
from dataforge.storage.s3 import S3Store

from query_api.query.ask import Asker
from query_api.query.athena_engine import Athena
from query_api.query.cache import Cache, NoCache, RedisCache
from query_api.query.catalog import GlueLocations, Lake, SqliteLocations
from query_api.query.duckdb_engine import Access, DuckDB
from query_api.query.engine import Engine
from query_api.query.slots import Slots
from query_api.settings import ApiSettings

_ANSWER_S = 3.0


@asynccontextmanager
async def asking(settings: ApiSettings, domains: Sequence[Domain]) -> AsyncIterator[Asker]:
    """Nothing is asked before the first query: a lake, a store or a cache that is away keeps nobody from starting."""
    bucket = urlsplit(settings.warehouse).netloc
    store = S3Store(
        bucket, endpoint=settings.s3_endpoint, region=settings.s3_region, timeout_s=_ANSWER_S, patience_s=_ANSWER_S
    )
    async with AsyncExitStack() as opened:
        await store.open()
        opened.push_async_callback(store.close)
        cache = _cache(settings)
        opened.push_async_callback(cache.close)
        engine = _engine(settings)
        opened.push_async_callback(engine.close)
        lake = Lake(_locations(settings), {bucket: store})
        yield Asker(Catalogue(domains), lake, engine, cache, settings.query_max_rows)


def _cache(settings: ApiSettings) -> Cache:
    if settings.cache_url is None:
        return NoCache()
    return RedisCache(
        settings.cache_url,
        ttl_s=settings.cache_ttl_s,
        most_bytes=settings.cache_entry_bytes,
        patience_s=settings.query_time_limit_s,
    )


def _locations(settings: ApiSettings) -> SqliteLocations | GlueLocations:
    file = settings.catalog_file
    return SqliteLocations(file) if file else GlueLocations(settings.s3_region, settings.aws_endpoint)


def _engine(settings: ApiSettings) -> Engine:
    if settings.catalog_file is None:
        return Athena(
            settings.s3_region,
            workgroup=settings.athena_workgroup,
            output=settings.athena_output,
            endpoint=settings.aws_endpoint,
            most=settings.query_workers + settings.query_queue,
            time_limit_s=settings.query_time_limit_s,
        )
    access = Access(
        settings.warehouse, settings.s3_endpoint, settings.s3_region, settings.query_memory, settings.query_threads
    )
    return DuckDB(access, Slots(settings.query_workers, settings.query_queue, settings.query_time_limit_s))
