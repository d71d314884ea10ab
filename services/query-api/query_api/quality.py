"""GET /quality/latest: what the lake found when it last held its events against quality.yaml."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from dataforge.errors import DataForgeError
from dataforge.kpi.catalogue import Catalogue
from dataforge.kpi.instants import instant
from dataforge.quality.report import Report, Source
from dataforge.quality.stored import newest_reports
from dataforge.storage.objects import ObjectStore

from query_api.auth import Guard
from query_api.errors import ApiError, documented
from query_api.ledger import events_of
from query_api.schemas import EventQuality, QualityAnswer, QualityFinding, QualityReport

KEPT_S = 5.0
"""The lake reports a few times an hour, and dashboards ask every second."""


class Newest:
    """The newest report of each event and source.

    *Guarantees*: at most `KEPT_S` old; whoever asks while it is read waits for the same.
    """

    def __init__(self, store: ObjectStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._kept: dict[tuple[str, Source], tuple[float, Report | None]] = {}
        self._reading: dict[tuple[str, Source], asyncio.Lock] = {}

    async def of(self, event: str, source: Source) -> Report | None:
        """None where there was none yet. *Raises* `Transient`, `Fatal`."""
        asked = (event, source)
        async with self._reading.setdefault(asked, asyncio.Lock()):
            until_s, report = self._kept.get(asked, (0.0, None))
            if asked not in self._kept or self._clock() >= until_s:
                report = next(iter(await newest_reports(self._store, event, source)), None)
                self._kept[asked] = (self._clock() + KEPT_S, report)
            return report


def router(catalogue: Catalogue, reports: Newest | None, guards: Sequence[Guard]) -> APIRouter:
    routes = APIRouter(dependencies=[Depends(guard) for guard in guards])

    @routes.get(
        "/quality/latest",
        summary="What the lake found when it last held its events against quality.yaml",
        responses=documented(
            (401, "unauthorized", "this needs a token", "send the header `Authorization: Bearer <token>`"),
            (404, "unknown_domain", "there is no domain 'bank'", "there are: retail"),
            (404, "unknown_event", "domain retail has no event 'sale'", "there are: purchase"),
            (422, "ambiguous", "name a domain", "there are: bank, retail"),
            (503, "unavailable", "the object store does not answer for …", "try again in a moment"),
        ),
        tags=["quality"],
    )
    async def latest(
        domain: Annotated[str | None, Query(description="May be left out where there is only one")] = None,
        event: Annotated[str | None, Query(description="One event of the domain; all where left out")] = None,
    ) -> QualityAnswer:
        asked = catalogue.domain(domain)
        if reports is None:
            raise ApiError(
                503, "unavailable", "this API was started without an object store", "set DATAFORGE_S3_BUCKET"
            )
        found: list[EventQuality] = []
        broken = False
        for name in (one.contract.name for one in events_of(asked, event)):
            try:
                gate, suite = await reports.of(name, "gate"), await reports.of(name, "suite")
            except DataForgeError as error:
                hint = "try again in a moment"
                raise ApiError(503, "unavailable", str(error), hint, {"Retry-After": "1"}) from error
            broken = broken or any(report is not None and report.broken for report in (gate, suite))
            found.append(EventQuality(event=name, gate=_told(gate), suite=_told(suite)))
        return QualityAnswer(domain=asked.name, passed=not broken, events=found)

    return routes


def _told(report: Report | None) -> QualityReport | None:
    if report is None:
        return None
    return QualityReport(
        at=instant(report.at_ms),
        snapshot=str(report.snapshot),
        rows=report.rows,
        failed=sum(one.status == "failed" for one in report.findings),
        findings=[
            QualityFinding(
                name=one.name,
                kind=one.kind,
                severity=one.severity,
                status=one.status,
                observed=one.observed,
                at_least=one.least,
                at_most=one.most,
                rows=one.rows,
                failed=one.failed,
                why=one.why,
            )
            for one in report.findings
        ],
    )
