"""GET /receipts: where is my event?"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query

from dataforge.contracts.model import Domain, EventType
from dataforge.errors import DataForgeError, Fatal
from dataforge.kpi.catalogue import Catalogue, duration_text
from dataforge.kpi.instants import instant
from dataforge.ledger.observe import Observer
from dataforge.state.store import StateReader

from query_api.auth import Guard
from query_api.errors import ApiError, documented
from query_api.ledger import events_of, since_ms, wall_ms
from query_api.receipt.find import Finder, NoSuchRecord, Receipt, Searched
from query_api.receipt.past import Past
from query_api.schemas import (
    CountingStage,
    JudgingStage,
    LandingStage,
    ReceiptAnswer,
    ReceiptWindow,
    SearchAnswer,
    SearchedPartition,
)

_AT_ONCE = 2
"""Receipts being followed at the same time: each may read a dedupe horizon of the log."""

_FURTHEST_MS = 24 * 3_600_000
"""How far back an event id may be looked for: every judged record since is read. For all time there is the lake."""

_SEARCH_S = 30.0
"""Longest time one search may keep others waiting."""

_EXAMPLE = {
    "topic": "raw.retail.purchase.v1", "partition": 3, "offset": 4711, "appended": "2026-01-05T10:00:41.250Z",
    "landing": {"state": "landed", "object": "landing/raw.retail.purchase.v1/3/00000000000000004600.parquet"},
    "judging": {"state": "judged", "position": 4711, "verdict": "valid", "reason": None, "warnings": []},
    "counting": {
        "state": "counted", "event_id": "t-1", "event_time": "2026-01-05T10:00:40.000Z",
        "watermark": "2026-01-05T10:00:40.900Z", "duplicate_of": None, "late_by_ms": None,
        "windows": [
            {"metrics": ["revenue"], "by": ["store"], "window": "1m", "start": "2026-01-05T10:00:00.000Z",
             "labels": {"store": "367"}}
        ],
        "visible_since": "2026-01-05T10:00:41.400Z", "visible_before": None,
    },
}  # fmt: skip
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": _EXAMPLE}}},
    **documented(
        (401, "unauthorized", "this needs a token", "send the header `Authorization: Bearer <token>`"),
        (404, "unknown_topic", "there is no raw topic 'raw.bank.payment.v1'", "there are: raw.retail.purchase.v1"),
        (404, "unknown_partition", "raw.retail.purchase.v1 has no partition 9", "there are 0 to 3"),
        (404, "unknown_offset", "raw.retail.purchase.v1/3 ends at 4712: no record has offset 9000 yet", "…"),
        (410, "gone", "the log and its chain begin at 100", "neither the log nor its landing chain can be read there"),
        (
            422,
            "bad_parameter",
            "offset: Input should be a valid integer",
            "openapi.json says what each parameter may be",
        ),
        (503, "unavailable", "Kafka does not answer", "try again; /readyz on the admin port says when it is back"),
    ),
}


def router(
    catalogue: Catalogue,
    state: StateReader,
    observer: Observer,
    past: Past | None,
    guards: Sequence[Guard],
) -> APIRouter:
    routes = APIRouter(dependencies=[Depends(guard) for guard in guards], tags=["ledger"])
    slots = asyncio.Semaphore(_AT_ONCE)
    by_topic = {event.contract.raw_topic: (domain, event) for domain in catalogue.domains for event in domain.events}

    def finder(domain: Domain, event: EventType) -> Finder:
        if past is None:
            raise ApiError(503, "unavailable", "this API was started without a log to read", "set DATAFORGE_KAFKA")
        return Finder(domain, event, catalogue.plan(event), state, observer, past)

    async def follow(find: Finder, topic: str, partition: int, offset: int) -> ReceiptAnswer:
        with _answering(topic):
            async with slots, asyncio.timeout(_SEARCH_S):
                return answer(topic, partition, await find.receipt(partition, offset))

    @routes.get("/receipts/{topic}/{partition}/{offset}", summary="What became of one record", responses=_RESPONSES)
    async def receipt(
        topic: Annotated[str, Path(description="Raw topic", examples=["raw.retail.purchase.v1"])],
        partition: Annotated[int, Path(ge=0)],
        offset: Annotated[int, Path(ge=0, description="As the producer was told")],
    ) -> ReceiptAnswer:
        if topic not in by_topic:
            there = ", ".join(sorted(by_topic))
            raise ApiError(404, "unknown_topic", f"there is no raw topic {topic!r}", f"there are: {there}")
        domain, event = by_topic[topic]
        if partition >= domain.partitions:
            hint = f"there are 0 to {domain.partitions - 1}"
            raise ApiError(404, "unknown_partition", f"{topic} has no partition {partition}", hint)
        return await follow(finder(domain, event), topic, partition, offset)

    @routes.get(
        "/receipts",
        summary="What became of the records with an event id",
        responses={code: _RESPONSES[code] for code in (401, 410, 422, 503)},
    )
    async def search(
        event_id: Annotated[str, Query(min_length=1, description="Value of the contract's id field")],
        domain: Annotated[str | None, Query(description="May be left out where there is only one")] = None,
        event: Annotated[str | None, Query(description="One event of the domain; all where left out")] = None,
        since: Annotated[
            str, Query(description="Judged records from this minute on: an instant or how long ago, at most 24h")
        ] = "1h",
    ) -> SearchAnswer:
        asked, from_ms = catalogue.domain(domain), _search_from(since)
        receipts: list[ReceiptAnswer] = []
        searched: list[SearchedPartition] = []
        for one in events_of(asked, event):
            find, topic = finder(asked, one), one.contract.raw_topic
            with _answering(topic):
                async with slots, asyncio.timeout(_SEARCH_S):
                    places, looked = await find.search(event_id, from_ms)
            searched += [_searched(topic, each) for each in looked]
            receipts += [await follow(find, topic, partition, offset) for partition, offset in places]
        return SearchAnswer(event_id=event_id, since=instant(from_ms), searched=searched, receipts=receipts)

    return routes


def _search_from(since: str) -> int:
    """In ms. *Raises* `ApiError`."""
    now_ms = wall_ms()
    from_ms = since_ms("since", since, 0, now_ms=now_ms)
    if from_ms < now_ms - _FURTHEST_MS:
        hint = "at most 24h ago; one record's topic, partition and offset have no such limit"
        raise ApiError(422, "bad_parameter", f"since: {since!r} is too long ago", hint)
    return from_ms


@contextmanager
def _answering(topic: str) -> Iterator[None]:
    """*Raises* `ApiError` for whatever keeps a question about the topic from being answered."""
    try:
        yield
    except NoSuchRecord as error:
        raise ApiError(404, "unknown_offset", str(error), "an offset is what the producer was told") from None
    except TimeoutError:
        hint = "look in a shorter time: since=5m"
        raise ApiError(503, "unavailable", f"{topic}: more than is read in {_SEARCH_S:.0f} s", hint) from None
    except DataForgeError as error:
        raise _away(error) from error


def _away(error: DataForgeError) -> ApiError:
    if isinstance(error, Fatal):
        return ApiError(410, "gone", str(error), "neither the log nor its landing chain can be read there")
    hint = "try again; /readyz on the admin port says when it is back"
    return ApiError(503, "unavailable", str(error), hint, {"Retry-After": "1"})


def _searched(topic: str, looked: Searched) -> SearchedPartition:
    return SearchedPartition(
        topic=topic,
        partition=looked.partition,
        records=looked.records,
        since=_instant(looked.from_ms),
        until=_instant(looked.to_ms),
    )


def answer(topic: str, partition: int, receipt: Receipt) -> ReceiptAnswer:
    """Pure."""
    return ReceiptAnswer.model_validate(
        {
            "topic": topic,
            "partition": partition,
            "offset": receipt.offset,
            "appended": _instant(receipt.appended_ms),
            "landing": LandingStage.model_validate({"state": receipt.landing, "object": receipt.object}),
            "judging": JudgingStage.model_validate(
                {
                    "state": receipt.judging,
                    "position": receipt.position,
                    "verdict": receipt.verdict,
                    "reason": receipt.reason,
                    "warnings": list(receipt.warnings),
                }
            ),
            "counting": CountingStage.model_validate(
                {
                    "state": receipt.counting,
                    "event_id": receipt.event_id,
                    "event_time": _instant(receipt.event_ms),
                    "watermark": _instant(receipt.watermark_ms),
                    "duplicate_of": receipt.duplicate_of,
                    "late_by_ms": receipt.late_by_ms,
                    "windows": [
                        ReceiptWindow(
                            metrics=list(window.metrics),
                            by=list(window.by),
                            window=duration_text(window.size_ms),
                            start=instant(window.start_ms),
                            labels=dict(zip(window.by, window.label, strict=True)),
                        )
                        for window in receipt.windows
                    ],
                    "visible_since": _instant(receipt.visible_since_ms),
                    "visible_before": _instant(receipt.visible_before_ms),
                }
            ),
        }
    )


def _instant(at_ms: int | None) -> str | None:
    return None if at_ms is None else instant(at_ms)
