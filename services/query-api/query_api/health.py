"""GET /health/pipelines: how far each event's KPIs are, and what of its ledger does not balance."""

import asyncio
import time
from collections.abc import Sequence

from fastapi import APIRouter, Depends

from dataforge.kpi.catalogue import Catalogue
from dataforge.kpi.instants import instant
from dataforge.ledger.watch import LedgerWatch
from dataforge.state.store import StateReader

from query_api.auth import Guard
from query_api.errors import documented
from query_api.kpis import place
from query_api.ledger import told
from query_api.schemas import Pipeline, PipelinePartition, PipelinesAnswer


def router(catalogue: Catalogue, state: StateReader, watch: LedgerWatch, guards: Sequence[Guard]) -> APIRouter:
    routes = APIRouter(dependencies=[Depends(guard) for guard in guards])

    @routes.get(
        "/health/pipelines",
        summary="Positions and watermarks of every event",
        responses=documented((401, "unauthorized", "this needs a token", "send `Authorization: Bearer <token>`")),
        tags=["health"],
    )
    async def pipelines() -> PipelinesAnswer:
        found: list[Pipeline] = []
        for domain in catalogue.domains:
            for event in domain.events:
                name = event.contract.name
                heads = await asyncio.gather(*(state.head(name, p) for p in range(domain.partitions)))
                started = [head.watermark for head in heads if head.watermark]
                found.append(
                    Pipeline(
                        domain=domain.name,
                        event=name,
                        watermark=instant(min(started)) if started else None,
                        lag_s=round(time.time() - min(started) / 1000, 3) if started else None,
                        problems=[told(aged) for aged in watch.persisting_of(event.contract.raw_topic)],
                        partitions=[
                            PipelinePartition(partition=head.partition, started=bool(head.feed), **place(head))
                            for head in heads
                        ],
                    )
                )
        return PipelinesAnswer(pipelines=found)

    return routes
