"""Does the store still know this worker as a partition's owner, and stand where it left it (DESIGN R3)?"""

from dataforge.errors import Superseded
from dataforge.state.store import StateWriter

IDLE_CHECK_S = 1.0
"""How often an owner with nothing to commit asks."""


async def demand_owner(store: StateWriter, name: str, partition: int, claim: str, position: int) -> None:
    """A zombie without input, or an owner whose store was rolled back, would notice nothing otherwise.

    *Raises* `Superseded`, `Transient` where the store does not answer.
    """
    theirs, at = await store.owner(name, partition)
    if (theirs, at) != (claim, position):
        raise Superseded(
            f"{name}/{partition}: the store is at {at}, this worker at {position}: another worker took the "
            "partition, or the store was rolled back"
        )
