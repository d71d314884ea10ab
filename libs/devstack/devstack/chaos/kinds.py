"""Every kind of fault there is, by name."""

from collections.abc import Mapping

from devstack.chaos.fault import Kind
from devstack.chaos.faults import processes

SESSION_TIMEOUT_S = 6
"""After which the broker takes a silent worker for dead."""

_KINDS = (
    Kind("kill", processes.draw_kill, weight=4),
    Kind("zombie", processes.draw_zombie, weight=2, least_s=SESSION_TIMEOUT_S + 2, most_s=15),
    Kind("broker_restart", processes.draw_broker_restart),
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _KINDS}
