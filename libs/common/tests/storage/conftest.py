from collections.abc import AsyncIterator

import pytest

from dataforge.storage.s3 import S3Store

from devstack.testing.plugin import S3Access


@pytest.fixture
async def s3_store(s3: S3Access) -> AsyncIterator[S3Store]:
    """A real object store, whose lists come in small pages."""
    store = S3Store(
        s3.bucket,
        endpoint=s3.endpoint,
        region=s3.region,
        patience_s=5,
        access_key=s3.access_key,
        secret_key=s3.secret_key,
        page_size=10,
    )
    await store.open()
    yield store
    await store.close()
