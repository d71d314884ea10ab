"""What tests share: the API over a shop of no events, a lake that is written once, and an engine over it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from dataforge.state.memory import MemoryState
from dataforge.storage.s3 import S3Store
from dataforge.testing.kpis import KpiWriter, open_writers

from asking import DOMAIN, TOKEN
from devstack.testing.plugin import S3Access
from query_api.app import build
from query_api.query.catalog import Lake, SqliteLocations
from query_api.query.duckdb_engine import DuckDB
from query_api.settings import ApiSettings
from shop_lake import ShopLake, drawn, duckdb_over, gold_of, shop_domain


@pytest.fixture
def state() -> MemoryState:
    return MemoryState()


@pytest.fixture
async def writers(state: MemoryState) -> list[KpiWriter]:
    return await open_writers(state, DOMAIN)


@pytest.fixture
async def api(state: MemoryState) -> AsyncIterator[httpx.AsyncClient]:
    settings = ApiSettings(api_token=TOKEN, ws_url="ws://live.example:8081", fresh_ms=0)  # pyright: ignore[reportArgumentType]
    transport = httpx.ASGITransport(build(settings, [DOMAIN], state), raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as client:
        yield client


@pytest.fixture(scope="session")
def s3_keys(s3: S3Access) -> Iterator[S3Access]:
    """The store's keys where the AWS SDK looks for them, and no others."""
    with pytest.MonkeyPatch.context() as env:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            env.delenv(name, raising=False)
        env.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
        env.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
        env.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield s3


@pytest.fixture(scope="session")
def shop(s3_keys: S3Access, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShopLake]:
    """A lake that no test changes: two commits of silver, one of gold."""
    folder, rows = tmp_path_factory.mktemp("shop"), drawn()
    made = ShopLake(s3_keys, folder / "lake", shop_domain(folder / "shop"))
    made.append("silver", rows[:150])
    made.append("silver", rows[150:])
    made.append("gold", gold_of(rows))
    yield made
    made.close()


@pytest.fixture
def own_shop(s3_keys: S3Access, tmp_path: Path) -> Iterator[ShopLake]:
    """A lake of the test's own, with tables and nothing in them."""
    made = ShopLake(s3_keys, tmp_path / "lake", shop_domain(tmp_path / "shop"))
    yield made
    made.close()


@pytest.fixture
async def store(s3_keys: S3Access) -> AsyncIterator[S3Store]:
    found = S3Store(s3_keys.bucket, endpoint=s3_keys.endpoint, region=s3_keys.region)
    await found.open()
    yield found
    await found.close()


@pytest.fixture
def lake(shop: ShopLake, store: S3Store) -> Lake:
    return Lake(SqliteLocations(shop.file), {shop.s3.bucket: store})


@pytest.fixture(scope="session")
def engine(shop: ShopLake) -> Iterator[DuckDB]:
    """Warm from its second query on."""
    found = duckdb_over(shop)
    yield found
    asyncio.run(found.close())
