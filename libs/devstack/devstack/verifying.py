"""`ledger verify` of a running stack: what its domains say, handed to an oracle that knows none of our code."""

from collections.abc import Callable, Sequence
from pathlib import Path

from dataforge.contracts.load import load_domains
from dataforge.contracts.model import Domain

from devstack.errors import UsageError
from devstack.model import Endpoints
from devstack.oracle.landed import Bucket
from devstack.oracle.verify.findings import Event, Report
from devstack.oracle.verify.verify import Servers, verify

OnProgress = Callable[[str, int, int], None]
"""(partition at hand, judged records done, in all)."""


def domains_of(folders: Sequence[str], name: str | None) -> list[Domain]:
    """*Raises* `UsageError` where none of them has this name."""
    found = load_domains([Path(folder) for folder in folders])
    chosen = [domain for domain in found if name in (None, domain.name)]
    if not chosen:
        raise UsageError(f"the stack has no domain {name!r}; it has: {', '.join(d.name for d in found) or 'none'}")
    return chosen


def events_of(domain: Domain) -> list[Event]:
    return [
        Event(
            domain=domain.name,
            name=event.contract.name,
            partitions=domain.partitions,
            id_field=event.contract.id_field,
            time_field=event.contract.time_field,
            time_format=event.contract.time_format,
            lateness_ms=event.lateness_ms,
            dedupe_ms=event.dedupe_ms,
            ttl_ms=event.ttl_ms,
        )
        for event in domain.events
    ]


def servers_of(reach: Endpoints) -> Servers:
    return Servers(reach.kafka, reach.redis_url, Bucket.of(reach))


async def verify_domain(reach: Endpoints, domain: Domain, progress: OnProgress = lambda *_: None) -> Report:
    """Every partition of every event, one after the other. *Raises* what clients raise where a server is away."""
    report = Report(domain.name)
    for event in events_of(domain):
        for partition in range(event.partitions):
            place = f"{event.name}/{partition}"

            def on_progress(done: int, total: int, place: str = place) -> None:
                progress(place, done, total)

            report.checks += await verify(servers_of(reach), event, partition, on_progress)
    return report
