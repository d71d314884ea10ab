"""Rows into pages, and where the next one begins. Pure."""

import base64
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

import msgspec

from dataforge.kpi.catalogue import Selection
from dataforge.kpi.overlay import UNCORRECTED
from dataforge.kpi.query import KpiRow, window_rows

from query_api.reads import Reads


class Cursor(NamedTuple):
    """The last row of a page. *Guarantees*: the next page begins right after it, whatever came in meanwhile."""

    question: int
    """Fingerprint of what was asked: a cursor fits no other question."""
    state: int
    """Fingerprint of the state it was answered from: two walks of one question, begun apart, do not mix."""
    start_ms: int
    labels: tuple[str, ...]

    def text(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode()

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """*Raises* ValueError."""
        return msgspec.json.decode(base64.urlsafe_b64decode(text), type=Cursor)


class Page(NamedTuple):
    rows: list[KpiRow]
    cursor: Cursor | None
    """None where no row follows."""


def fingerprint(selection: Selection, from_ms: int, to_ms: int) -> int:
    where = [(dimension, sorted(values)) for dimension, values in selection.where]
    return crc32(repr((*selection.key[:-1], where, from_ms, to_ms)).encode())


def state_of(reads: Reads) -> int:
    return crc32(repr([(read.position, read.claim) for read in (*reads.partitions, reads.overlay)]).encode())


def page(selection: Selection, reads: Reads, limit: int, question: int, after: Cursor | None) -> Page:
    """The first `limit` rows after a cursor; merges no window that it does not need."""
    rows: list[KpiRow] = []
    for row in _rows(selection, reads, after):
        if len(rows) == limit:
            last = rows[-1]
            return Page(rows, Cursor(question, state_of(reads), last.start_ms, last.labels))
        rows.append(row)
    return Page(rows, None)


def _rows(selection: Selection, reads: Reads, after: Cursor | None) -> Iterator[KpiRow]:
    size_ms, event = selection.size_ms, selection.event
    partitions, corrected = reads.partitions, reads.overlay.windows
    newest = max((read.watermark for read in partitions), default=0)
    for start in sorted({start for read in (*partitions, reads.overlay) for start in read.windows}):
        if start + size_ms + event.ttl_ms <= newest:
            continue  # one partition may have dropped its share by now: half a window is no window
        if after and start < after.start_ms:
            continue
        of_window = [read._replace(windows={start: read.windows.get(start, {})}) for read in partitions]
        overlay = {start: corrected[start]} if start in corrected else UNCORRECTED
        for row in window_rows(selection.view, size_ms, of_window, event.lateness_ms, selection.wanted, overlay):
            if after is None or (row.start_ms, row.labels) > (after.start_ms, after.labels):
                yield row
