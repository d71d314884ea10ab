"""Every kind of fault there is, by name."""

from collections.abc import Mapping

from devstack.chaos import disk
from devstack.chaos.fault import Kind
from devstack.chaos.faults import clock, disk_full, lost_tail, network, processes, recreated, retention

_KINDS = (
    Kind("kill", processes.draw_kill, weight=4),
    Kind("zombie", processes.draw_zombie, weight=2, least_s=processes.SESSION_TIMEOUT_S + 2, most_s=15),
    Kind("broker_restart", processes.draw_broker_restart),
    Kind("rebalance", processes.draw_rebalance, least_s=3, most_s=10),
    Kind("redis_tail", lost_tail.draw, weight=2),
    Kind("retention", retention.draw, least_s=0, most_s=3),
    Kind("net_drop", network.draw_drop),
    Kind("net_refuse", network.draw_refuse, least_s=1, most_s=8),
    Kind("net_slow", network.draw_slow, least_s=3, most_s=10),
    Kind("net_throttle", network.draw_throttle, least_s=3, most_s=10),
    Kind("net_black_hole", network.draw_black_hole, least_s=2, most_s=12),
    Kind("net_lost_answers", network.draw_lost_answers, least_s=2, most_s=6),
    Kind("s3_errors", network.draw_s3_errors, least_s=2, most_s=10),
    Kind("s3_timeouts", network.draw_s3_timeouts, least_s=3, most_s=15),
    Kind("s3_slow", network.draw_s3_slow, least_s=3, most_s=10),
    Kind("s3_dropped", network.draw_s3_dropped, least_s=2, most_s=8),
    Kind("disk_full", disk_full.draw, least_s=3, most_s=12, unavailable=disk.unavailable),
    Kind("clock", clock.draw, least_s=3, most_s=15),
    Kind("topic_recreated", recreated.draw, final=True),
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _KINDS}
