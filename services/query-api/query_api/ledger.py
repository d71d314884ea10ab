"""GET /ledger: what became of every record."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from dataforge.contracts.model import Domain
from dataforge.kpi.catalogue import Catalogue
from dataforge.kpi.instants import instant
from dataforge.state.store import StateReader

from query_api.errors import documented
from query_api.schemas import EventLedger, LedgerAnswer, MinuteOutcomes, Outcomes, PartitionLedger

_COUNTS = ("valid", "counted", "duplicate", "late")


def add_up(minutes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum ledger entries, and say whether they balance (DESIGN R6). Pure."""
    counts: Counter[str] = Counter()
    reasons: dict[str, Counter[str]] = {"quarantined": Counter(), "undecodable": Counter()}
    for minute in minutes:
        counts.update({name: minute.get(name, 0) for name in _COUNTS})
        for verdict, found in reasons.items():
            found.update(minute.get(verdict, {}))
    return {
        **{name: counts[name] for name in _COUNTS},
        **{verdict: dict(found) for verdict, found in reasons.items()},
        "received": counts["valid"] + sum(found.total() for found in reasons.values()),
        "balanced": counts["valid"] == counts["counted"] + counts["duplicate"] + counts["late"],
    }


def router(catalogue: Catalogue, state: StateReader, guards: Sequence[Callable[..., None]]) -> APIRouter:
    routes = APIRouter(dependencies=[Depends(guard) for guard in guards])

    @routes.get(
        "/ledger",
        summary="Outcomes of all records: per event, partition and minute, and in total",
        responses=documented(
            (401, "unauthorized", "this needs a token", "send the header `Authorization: Bearer <token>`"),
            (404, "unknown_domain", "there is no domain 'bank'", "there are: retail"),
            (422, "ambiguous", "name a domain", "there are: bank, retail"),
        ),
        tags=["health"],
    )
    async def ledger(
        domain: Annotated[str | None, Query(description="May be left out where there is only one")] = None,
    ) -> LedgerAnswer:
        asked: Domain = catalogue.domain(domain)
        events: list[EventLedger] = []
        everything: list[Mapping[str, Any]] = []
        for event in asked.events:
            partitions = await asyncio.gather(
                *(_partition(state, event.contract.name, p) for p in range(asked.partitions))
            )
            counts = [one for _, found in partitions for one in found]
            everything += counts
            events.append(
                EventLedger(
                    event=event.contract.name,
                    totals=Outcomes(**add_up(counts)),
                    partitions=[answer for answer, _ in partitions],
                )
            )
        return LedgerAnswer(domain=asked.name, totals=Outcomes(**add_up(everything)), events=events)

    return routes


async def _partition(state: StateReader, name: str, partition: int) -> tuple[PartitionLedger, list[Mapping[str, Any]]]:
    minutes, head = await asyncio.gather(state.ledger(name, partition), state.head(name, partition))
    answer = PartitionLedger(
        partition=partition,
        next=head.next,
        position=head.position,
        totals=Outcomes(**add_up(minutes.values())),
        minutes=[MinuteOutcomes(minute=instant(at), **add_up([minutes[at]])) for at in sorted(minutes)],
    )
    return answer, list(minutes.values())
