"""The invariants: what stores and readers hold equals what the model makes of the logs."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from dataforge.kpi.catalogue import Selection
from dataforge.kpi.columns import distinct_of
from dataforge.state.model import Loaded, window_key
from dataforge.stream.records import TopicPartition

from simulation import model
from simulation.model import Counts, Expected, Verdict
from simulation.servers import at_once
from simulation.watcher import LIMIT, Client, cell_of
from simulation.world import World
from ws_gateway.channel import Channel

FOREVER_MS = 2**50


def verdicts(world: World, partition: int) -> list[Verdict]:
    return world.models[partition].read(world.memory_log.history(world.judged[partition]))


# ---- at any moment


def state_problems(world: World, partition: int) -> Iterator[str]:
    """The stored state is the fold of the log up to the stored position: rows, ledger, ids, watermark."""
    loaded = at_once(world.memory.load(world.setup.contract.name, partition, FOREVER_MS))
    position = int(loaded.meta.get("position", 0))
    verdicts(world, partition)
    expected = world.models[partition].at(position)
    for problem in _differences(world, loaded, expected):
        yield f"state of partition {partition} at {position}: {problem}"


def _differences(world: World, loaded: Loaded, expected: Expected) -> Iterator[str]:
    event = world.setup.domain.events[0]
    held = {name: int(loaded.meta.get(name, 0)) for name in ("next", "watermark", "clock")}
    due = {"next": expected.following, "watermark": expected.watermark, "clock": expected.clock}
    if held != due:
        yield f"is at {held}, due {due}"
    ids = sorted(i for found in loaded.ids.values() for i in found)
    if ids != sorted(expected.ids):
        yield f"remembers {ids}, due {sorted(expected.ids)}"
    ledger = {minute: _flat(counts) for minute, counts in loaded.ledger.items()}
    kept = {m: dict(c) for m, c in expected.ledger.items() if m + model.MINUTE_MS + event.ttl_ms > expected.clock}
    if ledger != kept:
        yield f"ledger {ledger}, due {kept}"
    yield from _row_differences(world, loaded.windows, expected)


def _flat(counts: Mapping[str, Any]) -> dict[str, int]:
    flat = {name: counts[name] for name in ("valid", "counted", "duplicate", "late") if counts[name]}
    for kind in ("quarantined", "undecodable"):
        flat |= {f"{kind} {reason}": number for reason, number in counts[kind].items()}
    return flat


def _row_differences(world: World, windows: Mapping[str, Mapping[str, list[Any]]], expected: Expected) -> Iterator[str]:
    event = world.setup.domain.events[0]
    due: dict[str, Mapping[str, Counts]] = {}
    tables = world.tables
    for (by, size, start), rows in expected.open_rows(event.ttl_ms).items():
        for table in tables.values():
            if size in table.windows_ms and "".join(d.name for d in table.dimensions) == by:
                due[window_key(table.id, size, start)] = rows
    if windows.keys() != due.keys():
        yield f"windows too many {sorted(windows.keys() - due.keys())}, missing {sorted(due.keys() - windows.keys())}"
    for key in windows.keys() & due.keys():
        table = tables[key.rsplit("|", 2)[0]]
        shops = expected.shops.get(int(key.rsplit("|", 1)[1]), {})
        if windows[key].keys() != due[key].keys():
            yield f"{key} has the labels {sorted(windows[key])}, due {sorted(due[key])}"
            continue
        for label, counts in due[key].items():
            row = table.restore(windows[key][label])
            found = [row[0]] + [_plain(c.kind, value) for c, value in zip(table.columns, row[1:], strict=True)]
            wanted = [counts.revision] + [_wanted(c.kind, counts, shops) for c in table.columns]
            if found != wanted:
                yield f"{key} {label} is {found}, due {wanted}"


def _plain(kind: str, value: Any) -> Any:
    match kind:
        case "hll":
            return distinct_of(value)
        case "kll":
            return value.n, value.get_min_value(), value.get_max_value()
        case "frequent":
            return value.total_weight
        case _:
            return value


def _wanted(kind: str, counts: Counts, shops: Mapping[str, int]) -> Any:
    match kind:
        case "hll":
            return len(shops)
        case "kll":
            return len(counts.amounts), min(counts.amounts) / 100, max(counts.amounts) / 100
        case "frequent":
            return len(counts.amounts)
        case _:
            return counts.column(kind, "")


# ---- at the end


def unfinished(world: World) -> list[str]:
    """What is still to be done; cheap enough to be asked often."""
    todo: list[str] = []
    for p, (raw, judged) in enumerate(zip(world.raw, world.judged, strict=True)):
        log = world.memory_log
        found = verdicts(world, p)
        last = log.history(raw)[-1:] or [None]
        if last[0] is not None and (not found or found[-1].src < last[0].offset):
            todo.append(f"{raw.topic}/{p}: verdicts end at {found[-1].src if found else 'none'} of {last[0].offset}")
        _, position = at_once(world.memory.owner(world.setup.contract.name, p))
        if position < log.end(judged):
            todo.append(f"{judged.topic}/{p}: counted to {position} of {log.end(judged)}")
        todo += (
            f"{tp.topic}/{p}: landed to {end} of {log.end(tp)}"
            for tp in (raw, judged)
            if log.history(tp) and (end := world.chain_end(tp)) <= log.history(tp)[-1].offset
        )
    return todo


def final_problems(world: World) -> list[str]:
    """All that must hold once faults have stopped and everything had time to finish."""
    problems = unfinished(world)
    for p in range(world.setup.partitions):
        problems += _verdict_problems(world, p)
        problems += state_problems(world, p)
        problems += _quarantine_problems(world, p)
        for tp in (world.raw[p], world.judged[p]):
            problems += _chain_problems(world, tp)
    for client in world.clients:
        problems += client_problems(world, client)
    return problems + world.loop.unhandled + world.unforeseen


def _verdict_problems(world: World, p: int) -> Iterator[str]:
    """Every raw record has one accepted verdict, with its own bytes and time."""
    found = {verdict.src: verdict for verdict in verdicts(world, p)}
    raw = {record.offset: record for record in world.memory_log.history(world.raw[p])}
    if missing := sorted(raw.keys() - found.keys()):
        yield f"raw {p}: no accepted verdict on {missing}"
    if invented := sorted(found.keys() - raw.keys()):
        yield f"raw {p}: verdicts on {invented}, where there is no record"
    for src in raw.keys() & found.keys():
        have = (found[src].value, found[src].key, found[src].ts)
        want = (raw[src].value, raw[src].key, raw[src].timestamp)
        if have != want:
            yield f"raw {p}: the verdict on {src} carries {have}, the record is {want}"


def _quarantine_problems(world: World, p: int) -> Iterator[str]:
    """The first copy of each key is the accepted rejection, and every accepted rejection has one."""
    first: dict[bytes | None, tuple[bytes | None, str]] = {}
    for record in world.memory_log.history(world.quarantine[p]):
        if record.key is None:  # a place by itself
            continue
        reason = dict(record.headers)["reason"].decode()
        first.setdefault(record.key, (record.value, reason))
    raw = world.raw[p].topic
    due = {f"{raw}/{p}/{v.src}".encode(): (v.value, v.reason) for v in verdicts(world, p) if v.kind != model.VALID}
    if first != due:
        wrong = sorted(key.decode() for key in due if first.get(key) != due[key])
        yield f"quarantine {p}: wrong or missing {wrong}, too many {sorted(map(str, first.keys() - due.keys()))}"


def _chain_problems(world: World, tp: TopicPartition) -> Iterator[str]:
    """The objects cover the log without gap or overlap, byte for byte; judged footers tell the acceptance fold."""
    prefix, due = f"landing/{tp.topic}/{tp.partition}/", 0
    history = world.memory_log.history(tp)
    accepted = verdicts(world, tp.partition) if tp in world.judged else []
    for key in sorted(k for k in world.objects.objects if k.startswith(prefix)):
        footer, held = model.read_object(world.objects.objects[key])
        if footer["start"] != due:
            yield f"chain {key}: starts at {footer['start']}, {due} was due"
            return
        if key != f"{prefix}{due:020d}.parquet":
            yield f"chain {key}: is not named for its start"
        logged = [
            (r.offset, r.timestamp, r.key, r.value, list(r.headers))
            for r in history
            if due <= r.offset < footer["next"]
        ]
        if held != logged:
            yield f"chain {key}: holds offsets {[r[0] for r in held]}, the log {[r[0] for r in logged]}; or other bytes"
        if tp in world.judged:
            src = max((v.src for v in accepted if v.offset < footer["next"]), default=-1)
            if footer["accepted_next"] != src + 1:
                yield f"chain {key}: says accepted to {footer['accepted_next']}, due {src + 1}"
        due = footer["next"]


def client_problems(world: World, client: Client) -> Iterator[str]:
    """A watcher shows what a fresh snapshot would, and its values are the model's."""
    selection = client.selection
    name, table = selection.name, selection.view.table.id
    partitions = range(world.setup.partitions)
    reads = [at_once(world.memory.read(name, p, table, selection.step_ms, 0, FOREVER_MS)) for p in partitions]
    fresh = Channel(selection, 0, LIMIT)
    fresh.load(reads)
    fresh.advance()
    due = {cell_of(row): row for row in (json.loads(bytes(row)) for row in fresh.rows())}
    metric = selection.view.metric.name
    if client.rows != due:
        wrong = sorted(cell for cell in due.keys() | client.rows.keys() if due.get(cell) != client.rows.get(cell))
        shown, wanted = client.rows.get(wrong[0]), due.get(wrong[0])
        yield f"a watcher of {metric} shows other rows at {wrong}: {shown}, due {wanted}"
    folds = [world.models[p].at(FOREVER_MS) for p in partitions]
    for (start, _), row in client.rows.items():
        value = _value(folds, selection, start, list(row["labels"].values()))
        if row["value"] != value:
            yield f"a watcher of {metric} shows {row}, due {value}"


def _value(folds: list[Expected], selection: Selection, start: str, labels: list[str]) -> float:
    """Over the window's panes: one, or as many as a rolling window has."""
    name, first = json.dumps(labels, separators=(",", ":")), model.milliseconds(start)
    amounts: list[int] = []
    for fold in folds:
        for pane in range(first, first + selection.size_ms, selection.step_ms):
            row = fold.rows.get(("shop" if labels else "", selection.step_ms, pane), {}).get(name)
            amounts += row.amounts if row else []
    return sum(amounts) / 100 if selection.view.metric.name == "revenue" else len(amounts)
