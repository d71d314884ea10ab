"""query-api: the partitions' state and the lake -> REST, and the page that shows it live.

Guarantees: a row is what the partitions' state says, merged; each answer names the raw offsets it covers, and is
at most `fresh_ms` old;
every error has one shape. All it writes are alerts on a ledger that does not balance.
"""

import re
from collections.abc import Iterable

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from dataforge.contracts.model import Domain
from dataforge.kpi.catalogue import Catalogue
from dataforge.ledger.observe import Observer
from dataforge.ledger.watch import LedgerWatch
from dataforge.state.store import StateReader

from query_api import errors, health, kpis, ledger, live, quality, queries, receipts
from query_api.auth import bearer, no_upgrade
from query_api.limited import Limited
from query_api.measured import Measured
from query_api.quality import Newest
from query_api.query.ask import Asker
from query_api.reads import Reader
from query_api.receipt.past import Past
from query_api.settings import ApiSettings
from query_api.shared import Shared

DESCRIPTION = """Live KPIs of all domains, the ledger of what became of every record, receipts of single ones,
queries over all of history, and the quality of what the lake holds.

Authenticate with `Authorization: Bearer <token>`. Every error is `{"error": {"code", "message", "hint"}}`.
The same KPIs are pushed over WebSocket (`dataforge.v1`); `GET /metrics` names its address."""


def build(
    settings: ApiSettings,
    domains: Iterable[Domain],
    state: StateReader,
    observer: Observer | None = None,
    watch: LedgerWatch | None = None,
    past: Past | None = None,
    reports: Newest | None = None,
    asker: Asker | None = None,
) -> FastAPI:
    """Without `observer` the ledger is compared with nothing outside of the state, without `watch` none looks on,
    without `past` there are no receipts, without `reports` nothing of the lake's quality, and without `asker` no
    answers to queries.
    """
    catalogue = Catalogue(domains)
    observer = observer or Observer(state, None, None)
    watch = watch or LedgerWatch(observer, catalogue.domains)
    token = bearer(
        *(each.get_secret_value() if each else None for each in (settings.api_token, settings.analyst_token))
    )
    # No docs_url: its page would load scripts from elsewhere.
    app = FastAPI(title="DataForge", version="1", description=DESCRIPTION, docs_url=None, redoc_url=None)
    errors.install(app)
    guards = (token, errors.known_parameters)
    app.include_router(kpis.router(catalogue, Reader(state), settings.ws_url, (no_upgrade(settings.ws_url), *guards)))
    app.include_router(ledger.router(catalogue, observer, watch, guards))
    app.include_router(receipts.router(catalogue, state, observer, past, guards))
    app.include_router(quality.router(catalogue, reports, guards))
    app.include_router(health.router(catalogue, state, watch, guards))
    app.include_router(queries.router(catalogue, asker, guards))
    app.include_router(live.router())
    if settings.fresh_ms:
        app.add_middleware(Shared, paths={"/metrics"}, fresh_s=settings.fresh_ms / 1000)
    app.add_middleware(Limited)
    app.add_middleware(Measured)
    app.add_middleware(
        CORSMiddleware,
        allow_origin_regex=origins_pattern(settings.origins),
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type"],
        max_age=3600,
    )
    return app


def origins_pattern(origins: Iterable[str]) -> str:
    """A regular expression for these origins; `:*` is any port. Pure."""
    return "|".join(re.escape(origin).replace(r":\*", r"(:\d+)?") for origin in origins) or "$^"
