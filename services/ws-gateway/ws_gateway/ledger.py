"""The ledger on a screen: what became of the newest minutes' records, per event and partition, and totals. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dataforge.contracts.model import Domain
from dataforge.kpi.instants import instant
from dataforge.ledger.balance import MINUTE_MS, Counts, added

from ws_gateway import protocol
from ws_gateway.channel import Change
from ws_gateway.protocol import LedgerRow

Source = tuple[str, int]
"""(`<domain>.<event>.v<N>`, partition)"""

_row = msgspec.json.Encoder(order="deterministic").encode


def sources_of(domain: Domain) -> list[Source]:
    return [(e.contract.name, p) for e in domain.events for p in range(domain.partitions)]


class LedgerChannel:
    """What everybody sees who watches the ledger of one domain.

    A channel like those of metrics, its cells (minute's end in ms, `<event>/<partition>`); but read whole once a
    second: feed entries carry no ledger, and the minutes shown are few.
    """

    def __init__(self, domain: Domain, number: int, limit: int) -> None:
        self.domain = domain
        self.number = number
        self.limit = limit
        """How many minutes are shown, back from the newest of any partition."""
        self.shown: dict[tuple[int, str], msgspec.Raw] = {}
        self._totals: list[msgspec.Raw] = []

    def show(self, ledgers: Mapping[Source, Mapping[int, Mapping[str, Any]]]) -> Change | None:
        """Take what all partitions' ledgers say (minute in ms -> counts). None where that is what is shown."""
        newest = max((minute for minutes in ledgers.values() for minute in minutes), default=0)
        floor = newest - (self.limit - 1) * MINUTE_MS
        rows: dict[tuple[int, str], msgspec.Raw] = {}
        totals: list[msgspec.Raw] = []
        for (name, partition), minutes in ledgers.items():
            counts = {minute: Counts.of(entry) for minute, entry in minutes.items()}
            for minute, one in counts.items():
                if minute >= floor:
                    rows[minute + MINUTE_MS, f"{name}/{partition}"] = _encoded(name, partition, minute, one)
            totals.append(_encoded(name, partition, None, added(counts.values())))
        cells = {cell for cell, row in rows.items() if self.shown.get(cell) != row}
        # A minute leaves as a whole, though only one partition took it back: the others' rows are sent again.
        gone = {end for end, _ in self.shown.keys() - rows.keys()}
        cells |= {cell for cell in rows if cell[0] in gone}
        changed = bool(cells or gone) or totals != self._totals
        self.shown, self._totals = rows, totals
        return Change(cells, gone) if changed else None

    def frame(self, change: Change) -> tuple[str, bytes]:
        cells: Iterable[tuple[int, str]] = self.shown if change.reset else change.cells
        rows = [self.shown[cell] for cell in sorted(cells) if cell in self.shown]
        gone = [] if change.reset else [instant(end - MINUTE_MS) for end in sorted(change.gone)]
        return "ledger", protocol.encode(protocol.Ledger(self.number, change.reset, rows, gone, self._totals))


def _encoded(name: str, partition: int, minute: int | None, counts: Counts) -> msgspec.Raw:
    """One row, encoded once."""
    start = None if minute is None else instant(minute)
    return msgspec.Raw(
        _row(
            LedgerRow(
                start=start,
                labels={"event": name, "partition": str(partition)},
                judged=counts.judged,
                valid=counts.valid,
                quarantined=dict(counts.quarantined),
                undecodable=dict(counts.undecodable),
                counted=counts.counted,
                duplicate=counts.duplicate,
                late=counts.late,
                balanced=counts.balanced,
            )
        )
    )
