"""From an event type to what the fold needs: a lean decoder and the compiled contribution."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from dataforge.contracts.compile import Projection, projection, time_ms
from dataforge.contracts.model import EventType
from dataforge.kpi.plan import Plan, plan

from aggregator.contribute import Contribute, compile_contribution, fields_used
from aggregator.fold import Decode


@dataclass(frozen=True, slots=True)
class Compiled:
    """An event type, ready to be folded."""

    event: EventType
    plan: Plan
    decode: Decode
    contribute: Contribute
    domain_fingerprint: int
    partitions: int = 1

    @property
    def name(self) -> str:
        return self.event.contract.name


def compile_event(event: EventType, domain_fingerprint: int, partitions: int = 1) -> Compiled:
    """Only the fields that some metric reads are decoded; judged records need no second validation."""
    contract, tables = event.contract, plan(event)
    found = projection(contract, {*fields_used(tables), contract.id_field, contract.time_field})
    contribute = compile_contribution(tables, found.attributes)
    return Compiled(
        event,
        tables,
        _decode(event, found),
        contribute,
        domain_fingerprint,
        partitions,
    )


def _decode(event: EventType, found: Projection) -> Decode:
    contract = event.contract
    event_id, time = (attrgetter(found.attributes[name]) for name in (contract.id_field, contract.time_field))
    milliseconds, numeric = time_ms(contract), contract.fields[contract.id_field].type == "integer"

    def decode(values: Sequence[bytes]) -> tuple[Sequence[Any], list[str], Sequence[int]]:
        events = found.decode_all(values)
        ids, times = map(event_id, events), map(time, events)
        return (
            events,
            list(map(str, ids) if numeric else ids),
            list(times if milliseconds is int else map(milliseconds, times)),
        )

    return decode
