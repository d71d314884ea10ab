"""The fold of `corrections.v1`: records in, rows of the overlay out. Pure; *Source*: docs/specs/corrections.md.

*Guarantees*: of each cell the overlay has what the first record of its highest revision said, until the window has
expired by the largest watermark that a record of its event carried: not where batches end, not on repeats or restarts;
and, but for two records of one revision, not on their order.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dataforge.contracts.model import Domain
from dataforge.corrections import Correction, decode
from dataforge.errors import Rejected
from dataforge.kpi.columns import ALGEBRA, ColumnKind
from dataforge.kpi.plan import Row, Table, plan
from dataforge.state.model import WindowKey, split_window_key
from dataforge.stream.records import Record

_SKETCHES = frozenset({ColumnKind.HLL, ColumnKind.KLL, ColumnKind.FREQUENT})


class Known(NamedTuple):
    """Of one event: its tables by id, and how long its windows are kept."""

    tables: Mapping[str, Table]
    ttl_ms: int


def known_of(domains: Iterable[Domain]) -> dict[str, Known]:
    """By the event's name."""
    events = [event for domain in domains for event in domain.events]
    return {e.contract.name: Known({t.id: t for t in plan(e).tables}, e.ttl_ms) for e in events}


@dataclass(frozen=True, slots=True)
class Overlay:
    """What an owner knows of what is stored: how far each cell and each event is."""

    revisions: dict[WindowKey, dict[str, int]] = field(default_factory=dict)
    watermarks: dict[str, int] = field(default_factory=dict)
    """Event -> largest watermark (ms) that a record carried."""


@dataclass(frozen=True, slots=True)
class Step:
    """What some records change."""

    rows: dict[WindowKey, dict[str, Row]] = field(default_factory=dict)
    gone: tuple[WindowKey, ...] = ()
    watermarks: dict[str, int] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    """`applied`, `stale` (no higher revision), `expired`, `rejected`."""
    rejected: list[tuple[int, Rejected]] = field(default_factory=list)
    """(offset, why)"""


def fold(overlay: Overlay, records: Sequence[Record], known: Mapping[str, Known]) -> Step:
    """What these records change of the overlay, which stays as it is. Whatever they say, it never raises."""
    step = Step()
    expired = _expiry(overlay.watermarks, step.watermarks, known)
    for record in records:
        try:
            one = checked(record.value or b"", known)
        except Rejected as why:
            step.rejected.append((record.offset, why))
            step.outcomes["rejected"] += 1
            continue
        before = max(overlay.watermarks.get(one.event, 0), step.watermarks.get(one.event, 0))
        step.watermarks[one.event] = max(one.watermark, before)
        step.outcomes[_take(overlay, step, one, expired)] += 1
    for key in [key for key in step.rows if expired(key)]:
        del step.rows[key]
    moved = any(at_ms > overlay.watermarks.get(event, 0) for event, at_ms in step.watermarks.items())
    gone = tuple(key for key in overlay.revisions if expired(key)) if moved else ()
    return Step(step.rows, gone, step.watermarks, step.outcomes, step.rejected)


def applied(overlay: Overlay, step: Step) -> Overlay:
    """The overlay after the step."""
    gone = set(step.gone)
    revisions = {key: labels for key, labels in overlay.revisions.items() if key not in gone}
    for key, rows in step.rows.items():
        revisions[key] = {**revisions.get(key, {}), **{label: row[0] for label, row in rows.items()}}
    return Overlay(revisions, {**overlay.watermarks, **step.watermarks})


def checked(value: bytes, known: Mapping[str, Known]) -> Correction:
    """*Raises* `Rejected` where it is no correction, or not of a row that the domains' metrics have: else readers would
    come upon what they cannot merge.
    """
    one = decode(value)
    event = known.get(one.event)
    table = event.tables.get(one.table) if event else None
    if table is None or one.size_ms not in table.windows_ms or len(one.label) != len(table.dimensions):
        raise Rejected("unknown_row", f"no metric of {one.event} has it: {one.window} {one.label_text}")
    for at, stored in [*one.columns.items(), *one.sketches.items()]:
        if at > len(table.columns) or not _is_stored(table.columns[at - 1].kind, stored):
            raise Rejected("malformed", f"column {at} of {one.window} is {stored!r:.80}")
    return one


def _is_stored(kind: ColumnKind, stored: Any) -> bool:
    try:
        ALGEBRA[kind].restore(stored)
    except Exception:  # noqa: BLE001 - whatever a library says of bytes that are none of its sketches
        return False
    match kind:
        case ColumnKind.COUNT:
            return isinstance(stored, int)
        case ColumnKind.SUM:
            return isinstance(stored, int | str)
        case ColumnKind.MIN | ColumnKind.MAX:
            return stored is None or isinstance(stored, int | float)
        case _:
            return kind in _SKETCHES and isinstance(stored, bytes)


def _take(overlay: Overlay, step: Step, one: Correction, expired: Callable[[WindowKey], bool]) -> str:
    key, label = one.window, one.label_text
    if expired(key):
        return "expired"
    pending = step.rows.get(key, {}).get(label)
    held = pending[0] if pending else overlay.revisions.get(key, {}).get(label, 0)
    if one.revision <= held:
        return "stale"
    step.rows.setdefault(key, {})[label] = one.row
    return "applied"


def _expiry(
    stored: Mapping[str, int], carried: Mapping[str, int], known: Mapping[str, Known]
) -> Callable[[WindowKey], bool]:
    """Of a window, by the watermarks at the time of asking. One of an event that nobody knows stays."""

    def expired(key: WindowKey) -> bool:
        table, size_ms, start_ms = split_window_key(key)
        event = table.partition("/")[0]
        watermark = max(stored.get(event, 0), carried.get(event, 0))
        return event in known and start_ms + size_ms + known[event].ttl_ms <= watermark

    return expired
