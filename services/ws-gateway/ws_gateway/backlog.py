"""Frames of a channel, and what a slow client is owed: names of changed rows, never the changes. Pure."""

from ws_gateway import protocol
from ws_gateway.channel import Change, Channel


def change_frame(channel: Channel, change: Change) -> tuple[str, bytes]:
    """(kind, frame) that takes a client from before the change to what the channel shows."""
    if change.reset:
        return "snapshot", protocol.snapshot(channel.number, channel.rows(), channel.place)
    rows, gone = channel.rows(change.cells), channel.starts(change.gone)
    return "delta", protocol.delta(channel.number, rows, gone, channel.place)


def merged(earlier: Change, later: Change) -> Change:
    """Both changes as one: conflation to the latest value per row. Never larger than the channel itself."""
    if earlier.reset or later.reset:
        return Change(reset=True)
    kept = {cell for cell in earlier.cells if cell[0] not in later.gone}
    return Change(kept | later.cells, earlier.gone | later.gone)
