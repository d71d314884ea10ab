"""Corrections of the live numbers by the lake, on the topic `corrections.v1`. Pure.

*Source*: docs/specs/corrections.md.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from dataforge.errors import Rejected
from dataforge.state.model import WindowKey, window_key

TOPIC = "corrections.v1"
"""One partition: one owner, and one order of everything that replaces live numbers."""
OVERLAY = (TOPIC, 0)
"""Name and partition of the state in which its owner keeps what it was told, for every event."""

_Natural = Annotated[int, Meta(ge=1, le=2**53)]
_Instant = Annotated[int, Meta(ge=0, le=2**53)]
_Part = int | float | str | None


class Correction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row of a table as it must be: of one label, in one window. It replaces all that was said of it before."""

    event: str
    """`<domain>.<event>.v<N>`"""
    table: str
    size_ms: _Natural
    start_ms: _Instant
    label: tuple[str, ...]
    revision: _Natural
    """One more than what readers were shown: of two records of one revision the first counts."""
    columns: dict[_Natural, _Part] = {}
    """Position in the stored row -> stored value. A column that is named nowhere stays the live one."""
    sketches: dict[_Natural, bytes] = {}
    """As `columns`, for those whose stored value is a sketch."""
    gone: bool = False
    """There must be no such row."""
    positions: dict[int, int] = {}
    """Partition -> judged offset up to which the lake had counted."""
    watermark: _Instant = 0
    """The least of the partitions' watermarks (ms) there: what has expired by it is no longer kept."""

    @property
    def window(self) -> WindowKey:
        return window_key(overlay_table(self.event, self.table), self.size_ms, self.start_ms)

    @property
    def label_text(self) -> str:
        return msgspec.json.encode(self.label).decode()

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.size_ms

    @property
    def row(self) -> list[Any]:
        """As the overlay stores it, see docs/specs/state.md."""
        return [self.revision, None if self.gone else {**self.columns, **self.sketches}]


def overlay_table(event: str, table: str) -> str:
    """What the overlay calls an event's table: it is one for all events."""
    return f"{event}/{table}"


def key_of(correction: Correction) -> bytes:
    return f"{correction.window} {correction.label_text}".encode()


_decoder = msgspec.json.Decoder(Correction)


def encode(correction: Correction) -> bytes:
    return msgspec.json.encode(correction)


def decode(value: bytes) -> Correction:
    """Fields of a later version are ignored. *Raises* `Rejected` where it is none."""
    try:
        found = _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected("malformed", str(error)) from error
    if found.start_ms % found.size_ms:
        raise Rejected("malformed", f"no window of {found.size_ms} ms starts at {found.start_ms}")
    if found.gone == bool(found.columns or found.sketches):
        raise Rejected("malformed", "a row that is gone has no columns, any other has some")
    return found
