"""The owner of the overlay: corrections from the lake in, rows over the live ones out (DESIGN R3, §4)."""

import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from dataforge.corrections import OVERLAY
from dataforge.errors import Fatal, Superseded
from dataforge.runtime import metrics
from dataforge.state.model import Commit, Loaded, split_window_key
from dataforge.state.store import StateWriter
from dataforge.stream.origin import NO_ID, Bounds, Origin, same_topic
from dataforge.stream.records import Record, RecordBatch, TopicPartition
from dataforge.stream.work import Log

from aggregator.correct import Known, Overlay, Step, applied, fold
from aggregator.owner import IDLE_CHECK_S, demand_owner

logger = logging.getLogger(__name__)

COMMIT_RECORDS = 1_000
"""Of one commit: its rows are one entry of the feed."""
_WATERMARK = "watermark:"
_pack = msgspec.msgpack.Encoder().encode


class OverlayPartition:
    """A `PartitionWork` over `corrections.v1`.

    *Guarantees*: rows and position become visible together or not at all; a worker that lost the partition can write
    nothing; after a rolled-back store the owner leaves, and the next one reads again from where the store stands.

    The topic has retention, no landing chain, and nothing on it that the lake would not say again: where the log no
    longer holds the position, or is another log, it goes on at the log's beginning. So there are two positions: an
    offset of the present log, and one that grows over all of them, which orders commits and the feed.
    """

    def __init__(
        self,
        tp: TopicPartition,
        known: Mapping[str, Known],
        store: StateWriter,
        log: Log,
        clock: Callable[[], float],
        now_ms: Callable[[], int],
    ) -> None:
        self._tp, self._known, self._store, self._log = tp, known, store, log
        self._clock, self._now_ms = clock, now_ms
        self._claim = ""
        self._topic_id = NO_ID
        self._next = self._committed = 0
        """In offsets of the present log; in the position that grows."""
        self._checked_s = 0.0
        self._overlay = Overlay()

    @property
    def position(self) -> int:
        return self._next

    @property
    def origin(self) -> Origin:
        return Origin()

    async def open(self) -> int:
        self._claim = secrets.token_hex(16)
        await self._store.claim(*OVERLAY, self._claim)
        loaded = await self._store.load(*OVERLAY, 0)
        bounds = await self._bounds()
        self._overlay = restore(loaded)
        self._committed = int(loaded.meta.get("position", 0))
        self._topic_id = bounds.topic_id
        self._next = goes_on(loaded, bounds)
        self._checked_s = self._clock()
        return self._next

    async def _bounds(self) -> Bounds:
        try:
            return await self._log.bounds(self._tp)
        except Fatal as error:  # there is no such topic any more: what else this process does must not wait for it
            logger.error("corrections are not read: %s", error)
            return Bounds(NO_ID, 0, 0)

    async def take(self, batch: RecordBatch) -> None:
        """May be called again after `Transient`: what is committed by then is left out."""
        for records, following in _parts(batch, self._next):
            await self._commit(records, following)

    async def _commit(self, records: Sequence[Record], following: int) -> None:
        step = fold(self._overlay, records, self._known)
        position = self._committed + following - self._next
        meta = {"next": str(following), "topic_id": self._topic_id.hex()}
        meta |= {f"{_WATERMARK}{event}": str(at_ms) for event, at_ms in step.watermarks.items()}
        commit = Commit(
            claim=self._claim,
            previous=self._committed,
            position=position,
            meta=meta,
            windows={key: {label: _pack(row) for label, row in rows.items()} for key, rows in step.rows.items()},
            ends={key: sum(split_window_key(key)[1:]) for key in step.rows},
            gone=step.gone,
            feed=(_payload(step, position, following, self._now_ms()),),
        )
        try:
            await self._store.commit(*OVERLAY, commit)
        except Superseded:
            metrics.SUPERSEDED.labels(self._tp.topic).inc()
            raise
        self._overlay = applied(self._overlay, step)
        self._committed, self._next, self._checked_s = position, following, self._clock()
        _report(step)

    async def tick(self) -> None:
        if self._clock() >= self._checked_s + IDLE_CHECK_S:
            self._checked_s = self._clock()
            await demand_owner(self._store, *OVERLAY, self._claim, self._committed)

    async def close(self) -> None:
        """Nothing is ever pending between batches."""


def restore(loaded: Loaded) -> Overlay:
    """What an owner needs of what is stored. Pure."""
    revisions = {key: {label: row[0] for label, row in rows.items()} for key, rows in loaded.windows.items()}
    carried = {k.removeprefix(_WATERMARK): int(v) for k, v in loaded.meta.items() if k.startswith(_WATERMARK)}
    return Overlay(revisions, carried)


def goes_on(loaded: Loaded, bounds: Bounds) -> int:
    """The offset to read from: where it stood, as far as this is the same log and still holds it. Pure."""
    stored = int(loaded.meta.get("next", 0))
    topic_id = bytes.fromhex(loaded.meta.get("topic_id", "")) or NO_ID
    if not same_topic(topic_id, bounds.topic_id) or bounds.end < stored:
        logger.warning("%s was replaced: its corrections are read from its beginning", OVERLAY[0])
        return bounds.begin
    if stored < bounds.begin:
        logger.warning("%s begins at %d, and was read up to %d: the lake will say again what is missing",
                       OVERLAY[0], bounds.begin, stored)  # fmt: skip
    return max(stored, bounds.begin)


def _parts(batch: RecordBatch, start: int) -> Iterator[tuple[Sequence[Record], int]]:
    """(records, the offset after them) for one commit each."""
    records = [record for record in batch.records if record.offset >= start]
    while len(records) > COMMIT_RECORDS:
        part, records = records[:COMMIT_RECORDS], records[COMMIT_RECORDS:]
        yield part, part[-1].offset + 1
    if batch.next > start:
        yield records, batch.next


def _payload(step: Step, position: int, following: int, at_ms: int) -> bytes:
    return _pack(
        {
            "next": following,
            "watermark": 0,
            "position": position,
            "rows": step.rows,
            "gone": step.gone,
            "trace": [],
            "at": at_ms,
        }
    )


def _report(step: Step) -> None:
    for outcome, count in step.outcomes.items():
        metrics.CORRECTIONS.labels(outcome).inc(count)
    if step.rejected:
        offset, why = step.rejected[0]
        logger.error("%d records of %s are left out, first the one at %d: %s",
                     len(step.rejected), OVERLAY[0], offset, why)  # fmt: skip
    if step.outcomes["applied"]:
        logger.info("corrections", extra={"outcomes": dict(step.outcomes)})
