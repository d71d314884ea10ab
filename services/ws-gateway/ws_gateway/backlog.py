"""What a slow client is owed: names of changed rows, never the changes. Pure."""

from ws_gateway.channel import Change


def merged(earlier: Change, later: Change) -> Change:
    """Both changes as one: conflation to the latest value per row. Never larger than the channel itself."""
    if earlier.reset or later.reset:
        return Change(reset=True)
    kept = {cell for cell in earlier.cells if cell[0] not in later.gone}
    return Change(kept | later.cells, earlier.gone | later.gone)
