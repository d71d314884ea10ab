"""Between a fold and the store: the state as it stood at a commit, and what changed since as the next one. Pure."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from dataforge.state.model import Commit, Loaded, Settlement
from dataforge.stream.origin import NO_ID

from aggregator.compile import Compiled
from aggregator.dedupe import MINUTE_MS, SeenIds
from aggregator.fold import Fingerprint, Fold
from aggregator.windows import Changed, Windows

_encode = msgspec.msgpack.Encoder().encode


def restore(compiled: Compiled, loaded: Loaded) -> tuple[Fold, Windows]:
    """The fold as it stood at the last commit. Pure."""
    meta, event = loaded.meta, compiled.event
    remembered: dict[int, list[str]] = {}
    stored_ids: dict[int, list[str]] = {}
    for key, ids in loaded.ids.items():
        minute = int(key.partition(":")[0])
        remembered.setdefault(minute, []).extend(ids)
        stored_ids.setdefault(minute, []).append(key)
    fold = Fold(
        decode=compiled.decode,
        contribute=compiled.contribute,
        tables=len(compiled.plan.tables),
        lateness_ms=event.lateness_ms,
        seen=SeenIds(event.dedupe_ms, remembered),
        position=int(meta.get("position", 0)),
        watermark=int(meta.get("watermark", 0)),
        clock=int(meta.get("clock", 0)),
        ledger={minute: dict(counts) for minute, counts in loaded.ledger.items()},
        last=Fingerprint(*json.loads(meta["fp"])) if meta.get("fp") else None,
        topic_id=bytes.fromhex(meta.get("topic_id", "")),
        judged_id=bytes.fromhex(meta.get("judged_id", "")) or NO_ID,
        stored_ids=stored_ids,
    )
    fold.forgotten += fold.seen.advance(fold.clock)
    fold.acceptance.next = int(meta.get("next", 0))
    labels = {k.removeprefix("labels:"): tuple(json.loads(v)) for k, v in meta.items() if k.startswith("labels:")}
    windows = Windows(compiled.plan, labels)
    windows.restore(loaded.windows, loaded.expiries, fold.watermark)
    return fold, windows


def drain(
    compiled: Compiled, fold: Fold, windows: Windows, claim: str, previous: int, traces: list[str], at_ms: int
) -> Commit:
    """Everything since the last commit as one commit; the fold's pending rows are empty afterwards. Pure.

    `at_ms` is the time of day, for people: nothing is computed from it.
    """
    changed, ends = windows.absorb(fold.pending, fold.begun, fold.revised)
    gone = windows.expire(fold.watermark)
    forgotten = set(fold.forgotten)
    ledger_gone = tuple(m for m in fold.ledger if m + MINUTE_MS + compiled.event.ttl_ms <= fold.clock)
    for minute in ledger_gone:
        del fold.ledger[minute]
    commit = Commit(
        claim=claim,
        previous=previous,
        position=fold.position,
        meta=_meta(compiled, fold, windows),
        windows=changed,
        ends=ends,
        gone=gone,
        ids={f"{minute}:{fold.position}": _encode(ids) for minute, ids in fold.seen.new().items()},
        ids_gone=tuple(fold.ids_of(forgotten)),
        ledger={m: _encode(fold.ledger[m]) for m in fold.touched if m in fold.ledger},
        ledger_gone=ledger_gone,
        feed=(_payload(fold, changed, gone, traces, at_ms),),
    )
    fold.drained(fold.position)
    return commit


def settlement(fold: Fold, claim: str, floor: int, at_ms: int) -> Settlement:
    """What an idle owner, nothing of whose fold waits for a commit, says when the others have reached `floor`. Pure."""
    return Settlement(claim, fold.position, floor, _payload(fold, {}, (), [], at_ms))


def _meta(compiled: Compiled, fold: Fold, windows: Windows) -> dict[str, str]:
    meta = {
        "next": str(fold.acceptance.next),
        "watermark": str(fold.watermark),
        "clock": str(fold.clock),
        "topic_id": fold.topic_id.hex(),
        "judged_id": fold.judged_id.hex(),
        "fp": json.dumps(fold.last) if fold.last else "",
        "domain": str(compiled.domain_fingerprint),
    }
    for table, labels in zip(compiled.plan.tables, windows.labels, strict=True):
        if labels.grown:
            labels.grown = False
            meta[f"labels:{table.id}"] = json.dumps(labels.known())
    return meta


def _payload(fold: Fold, changed: Changed, gone: tuple[str, ...], traces: list[str], at_ms: int) -> bytes:
    rows: Mapping[str, Mapping[str, Any]] = {
        key: {label: msgspec.Raw(row) for label, row in found.items()} for key, found in changed.items()
    }
    return _encode(
        {
            "next": fold.acceptance.next,
            "watermark": fold.watermark,
            "position": fold.position,
            "rows": rows,
            "gone": gone,
            "trace": traces,
            "at": at_ms,
        }
    )
