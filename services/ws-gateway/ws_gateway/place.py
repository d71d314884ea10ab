"""Where a client's rows are from: places in the partitions' feeds, and the resume token that carries them. Pure."""

import base64
from collections.abc import Mapping
from typing import Annotated
from zlib import crc32

import msgspec

from dataforge.corrections import OVERLAY
from dataforge.kpi.catalogue import Selection
from dataforge.state.store import Named

CORRECTIONS = -1
"""Number, beside the event's own partitions, of the one that holds what the lake has corrected."""

Order = tuple[int, int]
"""A feed id as numbers: ids of one feed grow."""

_Cursor = Annotated[str, msgspec.Meta(pattern=r"^$|^[0-9]{1,19}-[0-9]{1,19} \S{1,64}$", max_length=128)]
_Instant = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


def source_of(event: str, partition: int) -> Named:
    """As the state store calls what a channel of this event calls `partition`."""
    return OVERLAY if partition == CORRECTIONS else (event, partition)


def order_of(cursor: str) -> Order:
    """Of `<id> <claim>` or of an id; (0, 0) for "", before the first entry."""
    position, _, n = cursor.partition(" ")[0].partition("-")
    return (int(position), int(n)) if n else (0, 0)


class At(msgspec.Struct, frozen=True, array_like=True):
    """One partition's place, and how far its event time was: all that what is shown depends on, besides rows."""

    cursor: _Cursor = ""
    """`<id> <claim>` of the last whole commit; "" before the first."""
    watermark: _Instant = 0
    floor: _Instant = 0


class Token(msgspec.Struct, frozen=True, array_like=True):
    """The rows of one subscription at one place. It names the store's feed, so that any gateway understands it."""

    of: int
    """Which subscription; see `fingerprint`."""
    at: dict[int, At]

    def encode(self) -> str:
        return base64.urlsafe_b64encode(_pack(self)).decode()


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Token)


def token_from(text: str) -> Token:
    """*Raises* ValueError where a client made it up."""
    return _unpack.decode(base64.urlsafe_b64decode(text))


def fingerprint(selection: Selection, limit: int) -> int:
    """Equal where rows and view are: another metric, filter, limit or definition shows other rows."""
    event = selection.event
    rolling = selection.rolling and (selection.rolling.size_ms, selection.rolling.every_ms)
    where = [(dimension, sorted(values)) for dimension, values in selection.where]
    shown = (selection.name, selection.view.metric.name, selection.view.by, selection.view.table.id)
    return crc32(repr((shown, selection.size_ms, rolling, where, limit, event.lateness_ms, event.ttl_ms)).encode())


def of_event(places: Mapping[int, At]) -> list[At]:
    """Those of the event's own partitions, which alone say how far it is."""
    return [at for partition, at in places.items() if partition != CORRECTIONS]


def newest_of(places: Mapping[int, At]) -> int:
    """Largest watermark (ms), 0 where there is none."""
    return max((at.watermark for at in places.values()), default=0)
