"""A small domain, and a writer that puts KPI rows for it into a state store: for tests of whoever reads KPIs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from dataforge.contracts.model import (
    UNKNOWN,
    Contract,
    Dimension,
    Domain,
    EventType,
    Field,
    Measure,
    MeasureKind,
    Metric,
    Rolling,
)
from dataforge.corrections import OVERLAY, Correction
from dataforge.kpi.columns import ALGEBRA, Column, ColumnKind, label_text
from dataforge.kpi.plan import Row, View, plan
from dataforge.state.model import Commit, Settlement, window_key
from dataforge.state.store import StateWriter

_pack = msgspec.msgpack.encode
_FINE, _COARSE = (10_000, 60_000), (60_000,)
_TOTAL_AND_STORE = ((), ("store",))


def sample_domain(*, partitions: int = 2, ttl_ms: int = 86_400_000, name: str = "shop") -> Domain:
    """Event `sale`: store, customer, amount (two decimals), quantity; a metric of every kind."""
    contract = Contract(
        domain=name,
        event="sale",
        version=1,
        schema={},
        fields={
            f.name: f
            for f in (
                Field("id", "string"),
                Field("at", "integer"),
                Field("store", "string"),
                Field("customer", "string"),
                Field("amount", "number", scale=2),
                Field("quantity", "integer"),
            )
        },
        id_field="id",
        time_field="at",
        time_format="epoch_ms",
        key_field="customer",
        max_ahead_ms=86_400_000,
        max_age_ms=10**12,
        fingerprint=1,
    )
    rolling = (Rolling(60_000, 10_000),)
    metrics = (
        Metric("revenue", Measure(MeasureKind.SUM, "amount"), _TOTAL_AND_STORE, _FINE, rolling, unit="USD"),
        Metric("sales", Measure(MeasureKind.COUNT), _TOTAL_AND_STORE, _FINE, rolling),
        Metric("largest", Measure(MeasureKind.MAX, "amount"), ((),), _FINE, unit="USD"),
        Metric(
            "price",
            Measure(MeasureKind.RATIO, numerator=((1, "amount"),), denominator=((1, "quantity"),)),
            _TOTAL_AND_STORE,
            _FINE,
            rolling,
            unit="USD",
        ),
        Metric("customers", Measure(MeasureKind.DISTINCT, "customer"), ((),), _COARSE),
        Metric("amounts", Measure(MeasureKind.QUANTILES, "amount", quantiles=(0.5, 0.95)), ((),), _COARSE, unit="USD"),
        Metric("top_stores", Measure(MeasureKind.TOP_K, "store", k=3), ((),), _COARSE),
    )
    sale = EventType(
        contract=contract,
        rules=(),
        dimensions={"store": Dimension("store", "store")},
        metrics={m.name: m for m in metrics},
        lateness_ms=5_000,
        ttl_ms=ttl_ms,
        label_cap=1_000,
        dedupe_ms=60_000,
    )
    return Domain(name, partitions, (sale,), {}, 1, "Sales of a shop")


def sale(at_ms: int, store: str = "1", customer: str = "a", cents: int = 100, quantity: int = 1) -> dict[str, Any]:
    return {"at": at_ms, "store": store, "customer": customer, "amount": cents, "quantity": quantity}


class KpiWriter:
    """Owner of one partition of a domain's first event: counts each event at once, commits when told to.

    Events are dicts of fields, numbers already scaled; their time is in `at` (ms).

    No deduplication, lateness or TTL: it is there to have rows to read, not to be an aggregator.
    """

    def __init__(self, state: StateWriter, domain: Domain, partition: int, *, claim: str = "c1") -> None:
        self._state = state
        self._event = domain.events[0]
        self._tables = plan(self._event).tables
        self._name = self._event.contract.name
        self._partition = partition
        self._claim = claim
        self._held: dict[str, dict[str, Row]] = {}
        self.next = self.position = self.watermark = 0

    async def open(self, claim: str | None = None) -> None:
        self._claim = claim or self._claim
        await self._state.claim(self._name, self._partition, self._claim)

    async def write(
        self,
        events: Sequence[Mapping[str, Any]],
        *,
        entries: int = 1,
        gone: Iterable[str] = (),
        trace: Sequence[str] = (),
    ) -> None:
        """One commit with these events, its feed split into `entries`."""
        changed: dict[str, set[str]] = {}
        for event in events:
            self._count(event, changed)
        previous, self.position = self.position, self.position + max(1, len(events))
        self.next += len(events)
        tables = {t.id: t for t in self._tables}
        rows = {
            key: {label: tables[key.split("|")[0]].store(self._held[key][label]) for label in labels}
            for key, labels in changed.items()
        }
        parts = [dict(list(rows.items())[i::entries]) for i in range(entries)]
        feed = tuple(
            _pack(
                {
                    "next": self.next,
                    "watermark": self.watermark,
                    "position": self.position,
                    "rows": part,
                    "gone": list(gone),
                    "trace": list(trace),
                }
            )
            for part in parts
        )
        commit = Commit(
            claim=self._claim,
            previous=previous,
            position=self.position,
            meta={"next": str(self.next), "watermark": str(self.watermark)},
            windows={key: {label: _pack(row) for label, row in found.items()} for key, found in rows.items()},
            ends={key: int(key.rsplit("|", 2)[2]) + int(key.rsplit("|", 2)[1]) for key in rows},
            gone=tuple(gone),
            ledger={e["at"] // 60_000 * 60_000: _pack({"valid": len(events), "counted": len(events)}) for e in events},
            feed=feed,
        )
        await self._state.commit(self._name, self._partition, commit)

    async def settle(self, floor: int) -> None:
        """Say that this partition is idle and the others have reached `floor`."""
        said = {"next": self.next, "watermark": self.watermark, "position": self.position, "rows": {}, "gone": []}
        data = _pack({**said, "trace": []})
        await self._state.settle(self._name, self._partition, Settlement(self._claim, self.position, floor, data))

    def _count(self, event: Mapping[str, Any], changed: dict[str, set[str]]) -> None:
        self.watermark = max(self.watermark, event["at"])
        for table in self._tables:
            label = msgspec.json.encode([_label(d, event) for d in table.dimensions]).decode()
            for size in table.windows_ms:
                key = window_key(table.id, size, event["at"] // size * size)
                row = self._held.setdefault(key, {}).setdefault(label, table.empty_row())
                row[1:] = [_absorb(c, held, event) for c, held in zip(table.columns, row[1:], strict=True)]
                changed.setdefault(key, set()).add(label)


def correction(
    event: str, view: View, size_ms: int, start_ms: int, label: tuple[str, ...], *stored: Any, revision: int = 1
) -> Correction:
    """Of what the view reads: `stored` values of its columns, in its order; none where the row is gone."""
    said = dict(zip(view.columns, stored, strict=True)) if stored else {}
    return Correction(
        event=event,
        table=view.table.id,
        size_ms=size_ms,
        start_ms=start_ms,
        label=label,
        revision=revision,
        columns={at: value for at, value in said.items() if not isinstance(value, bytes)},
        sketches={at: value for at, value in said.items() if isinstance(value, bytes)},
        gone=not stored,
    )


async def open_writers(state: StateWriter, domain: Domain) -> list[KpiWriter]:
    """One for each partition."""
    writers = [KpiWriter(state, domain, partition) for partition in range(domain.partitions)]
    for writer in writers:
        await writer.open()
    return writers


class OverlayWriter:
    """Owner of the overlay: commits what it is told, whatever its revision."""

    def __init__(self, state: StateWriter, *, claim: str = "c1") -> None:
        self._state, self._claim = state, claim
        self.position = 0

    async def open(self, claim: str | None = None) -> None:
        self._claim = claim or self._claim
        await self._state.claim(*OVERLAY, self._claim)

    async def write(self, *corrections: Correction) -> None:
        previous, self.position = self.position, self.position + max(1, len(corrections))
        rows: dict[str, dict[str, Row]] = {}
        for one in corrections:
            rows.setdefault(one.window, {})[one.label_text] = one.row
        fed = {"next": self.position, "watermark": 0, "position": self.position, "rows": rows, "gone": [], "trace": []}
        commit = Commit(
            claim=self._claim,
            previous=previous,
            position=self.position,
            meta={"next": str(self.position)},
            windows={key: {label: _pack(row) for label, row in found.items()} for key, found in rows.items()},
            ends={one.window: one.end_ms for one in corrections},
            feed=(_pack(fed),),
        )
        await self._state.commit(*OVERLAY, commit)


def _label(dimension: Dimension, event: Mapping[str, Any]) -> str:
    value = label_text(event[dimension.field])
    return value if dimension.lookup is None else dimension.lookup.get(value, UNKNOWN)


def _absorb(column: Column, held: Any, event: Mapping[str, Any]) -> Any:
    values = [sign * event[field] for sign, field in column.terms] if column.kind is ColumnKind.SUM else []
    field = column.terms[0][1] if column.terms else ""
    match column.kind:
        case ColumnKind.COUNT:
            pending: Any = 1
        case ColumnKind.SUM:
            pending = sum(values)
        case ColumnKind.HLL:
            pending = {event[field]}
        case ColumnKind.KLL:
            pending = [event[field] / 10**column.scale]
        case ColumnKind.FREQUENT:
            pending = {event[field]: 1}
        case _:
            pending = event[field]
    return ALGEBRA[column.kind].absorb(held, pending)
