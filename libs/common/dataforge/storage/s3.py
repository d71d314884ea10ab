"""S3, or a server that speaks it. Retries live here and nowhere else (DESIGN R8)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, TypeVar

import aioboto3
from aiohttp import ClientError as AiohttpError
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from dataforge.errors import Fatal, Transient

T = TypeVar("T")

_EXISTS = frozenset({"412", "PreconditionFailed"})
_MISSING = frozenset({"404", "NoSuchKey"})
_PASSING = frozenset(
    {
        "409",
        "ConditionalRequestConflict",
        "429",
        "SlowDown",
        "RequestTimeout",
        "RequestTimeTooSkewed",
        "Throttling",
        "InternalError",
    }
)


class S3Store:
    """One bucket. Use `open` and `close` around its life; credentials come by the standard AWS variables.

    One try takes `timeout_s` at most; tries go on for `patience_s`, with the same key and the same bytes.
    """

    def __init__(
        self, bucket: str, *, endpoint: str | None = None, region: str = "us-east-1", timeout_s: float = 10.0,
        patience_s: float = 20.0, access_key: str | None = None, secret_key: str | None = None,
        page_size: int = 1000,
    ) -> None:  # fmt: skip
        self._bucket, self._patience_s, self._attempt_s = bucket, patience_s, timeout_s
        self._page_size = page_size
        self._session = aioboto3.Session(
            aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name=region
        )
        self._options: dict[str, Any] = {
            "endpoint_url": endpoint,
            "config": Config(
                connect_timeout=timeout_s,
                read_timeout=timeout_s,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path" if endpoint else "auto"},
                # Servers other than AWS do not all know the newer checksums; ours are in the footer.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        }
        self._stack = AsyncExitStack()
        self._s3: Any = None

    async def open(self) -> None:
        client: Any = self._session.client("s3", **self._options)
        self._s3 = await self._stack.enter_async_context(client)

    async def close(self) -> None:
        await self._stack.aclose()

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        async def put() -> bool:
            try:
                await self._s3.put_object(Bucket=self._bucket, Key=key, Body=data, IfNoneMatch="*")
            except ClientError as error:
                if _code(error) in _EXISTS:
                    return False
                raise
            return True

        return await self._patiently(put, key)

    async def get(self, key: str) -> bytes:
        return await self._patiently(lambda: self._read(key), key)

    async def tail(self, key: str, size: int) -> bytes:
        return await self._patiently(lambda: self._read(key, Range=f"bytes=-{size}"), key)

    async def _read(self, key: str, **options: str) -> bytes:
        answer = await self._s3.get_object(Bucket=self._bucket, Key=key, **options)
        async with answer["Body"] as body:
            return await body.read()

    async def list(self, prefix: str, start_after: str = "") -> AsyncIterator[str]:
        token: str | None = None
        while True:
            more = {"ContinuationToken": token} if token else {"StartAfter": start_after}
            ask = partial(self._s3.list_objects_v2, Bucket=self._bucket, Prefix=prefix, MaxKeys=self._page_size, **more)
            answer = await self._patiently(ask, prefix)
            for entry in answer.get("Contents", ()):
                yield entry["Key"]
            if not (token := answer.get("NextContinuationToken")):
                return

    async def _patiently(self, call: Callable[[], Awaitable[T]], key: str) -> T:
        """Try until it answers or patience ends. *Raises* KeyError, `Transient`, `Fatal`."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Transient),
            wait=wait_random_exponential(multiplier=0.1, max=3),
            stop=stop_after_delay(self._patience_s),
            reraise=True,
        )
        return await retrying(self._once, call, key)

    async def _once(self, call: Callable[[], Awaitable[T]], key: str) -> T:
        try:
            # Beside the client's own timeouts: none of them ends an upload that the server does not read.
            async with asyncio.timeout(self._attempt_s):
                return await call()
        except ClientError as error:
            code = _code(error)
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in _MISSING:
                raise KeyError(key) from error
            if status >= 500 or code in _PASSING:
                raise Transient(f"the object store answered {code} for {key}") from error
            raise Fatal(f"the object store refused {key} in bucket {self._bucket}: {error}") from error
        except (BotoCoreError, AiohttpError, OSError, TimeoutError) as error:
            raise Transient(f"the object store does not answer for {key}: {error!r}") from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
