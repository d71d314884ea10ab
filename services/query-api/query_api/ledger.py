"""GET /ledger: what became of every record, and whether it adds up."""

import time
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from dataforge.contracts.model import Domain, EventType
from dataforge.contracts.names import duration_ms
from dataforge.kpi.catalogue import Catalogue, Unanswerable
from dataforge.kpi.instants import instant, parse_instant
from dataforge.ledger.balance import MINUTE_MS, Minute, PartitionLedger, added
from dataforge.ledger.observe import Observer
from dataforge.ledger.watch import Aged, LedgerWatch

from query_api.auth import Guard
from query_api.errors import ApiError, documented
from query_api.schemas import (
    EventLedger,
    LedgerAnswer,
    LedgerProblem,
    MinuteOutcomes,
    Outcomes,
    PartitionLedgerAnswer,
)

_FOREVER_MS = 2**53

Span = tuple[int, int]
"""[from, to) in ms."""


def router(catalogue: Catalogue, observer: Observer, watch: LedgerWatch, guards: Sequence[Guard]) -> APIRouter:
    routes = APIRouter(dependencies=[Depends(guard) for guard in guards])

    @routes.get(
        "/ledger",
        summary="Outcomes of all records: per event, partition and minute, in total, and whether they balance",
        responses=documented(
            (401, "unauthorized", "this needs a token", "send the header `Authorization: Bearer <token>`"),
            (404, "unknown_domain", "there is no domain 'bank'", "there are: retail"),
            (404, "unknown_event", "domain retail has no event 'sale'", "there are: purchase"),
            (422, "ambiguous", "name a domain", "there are: bank, retail"),
            (422, "bad_parameter", "since: not an instant", "ISO 8601, milliseconds, or how long ago: 90s, 15m, 2h"),
        ),
        tags=["ledger"],
    )
    async def ledger(
        domain: Annotated[str | None, Query(description="May be left out where there is only one")] = None,
        event: Annotated[str | None, Query(description="One event of the domain; all where left out")] = None,
        since: Annotated[
            str | None,
            Query(
                description="First minute of log time: ISO 8601, milliseconds, or how long ago (`90s`, `15m`, `2h`)",
                examples=["15m", "2026-01-05T10:00:00Z"],
            ),
        ] = None,
        until: Annotated[str | None, Query(description="Minutes before it, in the same forms")] = None,
    ) -> LedgerAnswer:
        asked = catalogue.domain(domain)
        span = (since_ms("since", since, 0) // MINUTE_MS * MINUTE_MS, since_ms("until", until, _FOREVER_MS))
        events: list[EventLedger] = []
        everything: list[Minute] = []
        away: list[str] = []
        for one in events_of(asked, event):
            observed = await observer.observe(asked, one)
            shown = [(p, [m for m in p.minutes if span[0] <= m.at_ms < span[1]]) for p in observed.partitions]
            minutes = [minute for _, found in shown for minute in found]
            everything += minutes
            away += observed.away
            events.append(
                EventLedger(
                    event=one.contract.name,
                    totals=Outcomes(**outcomes(minutes)),
                    problems=[told(aged) for aged in watch.persisting_of(one.contract.raw_topic)],
                    partitions=[_partition(partition, found) for partition, found in shown],
                )
            )
        totals = Outcomes(**outcomes(everything))
        return LedgerAnswer(
            domain=asked.name,
            balanced=totals.balanced and not any(e.problems for e in events),
            away=sorted(set(away)),
            totals=totals,
            events=events,
        )

    return routes


def events_of(domain: Domain, name: str | None) -> tuple[EventType, ...]:
    """*Raises* `Unanswerable`."""
    if name is None:
        return domain.events
    try:
        return (domain.event(name),)
    except KeyError:
        there = ", ".join(e.contract.event for e in domain.events)
        raise Unanswerable(
            "unknown_event", f"domain {domain.name} has no event {name!r}", f"there are: {there}"
        ) from None


def since_ms(parameter: str, text: str | None, default: int, *, now_ms: int | None = None) -> int:
    """An instant, or how long ago it was. *Raises* `ApiError`."""
    if text is None:
        return default
    ago = duration_ms(text)
    if ago is not None:
        return max(0, (wall_ms() if now_ms is None else now_ms) - ago)
    try:
        return parse_instant(text)
    except ValueError:
        hint = "ISO 8601, milliseconds, or how long ago: 90s, 15m, 2h"
        raise ApiError(422, "bad_parameter", f"{parameter}: {text!r} is not an instant", hint) from None


def wall_ms() -> int:
    """The time of day, ms since the epoch."""
    return time.time_ns() // 1_000_000


def outcomes(minutes: Iterable[Minute]) -> dict[str, Any]:
    """Sums over minutes. Pure."""
    minutes = list(minutes)
    counts = added(minute.counts for minute in minutes)
    landed = [minute.landed for minute in minutes]
    return {
        "received": sum(minute.received for minute in minutes),
        "landed": None if None in landed else sum(n or 0 for n in landed),
        "judged": counts.judged,
        "valid": counts.valid,
        "quarantined": dict(counts.quarantined),
        "undecodable": dict(counts.undecodable),
        "counted": counts.counted,
        "duplicate": counts.duplicate,
        "late": counts.late,
        "balanced": all(minute.balanced for minute in minutes),
    }


def told(aged: Aged) -> LedgerProblem:
    problem, age_s = aged
    return LedgerProblem(
        partition=problem.subject.partition, kind=problem.kind, problem=problem.text, age_s=round(age_s, 1)
    )


def _partition(ledger: PartitionLedger, minutes: Sequence[Minute]) -> PartitionLedgerAnswer:
    return PartitionLedgerAnswer(
        partition=ledger.partition,
        next=ledger.next,
        position=ledger.position,
        landed_next=ledger.landed,
        raw_end=ledger.raw_end,
        judged_end=ledger.judged_end,
        in_flight=ledger.in_flight,
        compared_from=instant(ledger.from_ms) if ledger.from_ms else None,
        totals=Outcomes(**outcomes(minutes)),
        minutes=[
            MinuteOutcomes(minute=instant(minute.at_ms), closed=minute.closed, **outcomes([minute]))
            for minute in minutes
        ],
    )
