"""From what is wanted to the programs that run: ports, endpoints, environment. Pure but for what is cached."""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from devstack.jars import Progress, class_path, lock_of
from devstack.lake import jobs as lake
from devstack.model import Endpoints, ServiceSpec, Wanted
from devstack.paths import StackPaths, lake_catalog
from devstack.program import Program, http_ok
from devstack.secret import Secrets
from devstack.servers import kafka, s3proxy, valkey

_SERVER_PORTS = {
    "kafka": kafka.PORTS,
    "valkey": valkey.PORTS,
    "valkey-cache": valkey.CACHE_PORTS,
    "s3proxy": s3proxy.PORTS,
}

_LOOPBACK = {"DATAFORGE_HOST": "127.0.0.1", "DATAFORGE_ADMIN_HOST": "127.0.0.1"}


def instances(spec: ServiceSpec) -> list[str]:
    """Stable names, also of the static Kafka membership: `aggregator`, `aggregator-2`, …"""
    return [spec.name if n == 1 else f"{spec.name}-{n}" for n in range(1, spec.instances + 1)]


def preferred_ports(wanted: Wanted, remembered: Mapping[str, int], *, usual: bool) -> dict[str, int]:
    """Port name -> wanted port: the remembered one, else (with `usual`) the default, else 0 for any."""
    ports: dict[str, int] = {}
    for server in wanted.servers:
        ports |= _SERVER_PORTS[server]
    if wanted.kafka_proxy:
        ports[kafka.PROXIED] = 0
    for spec in wanted.services:
        for number, name in enumerate(instances(spec)):
            ports[f"{name}:admin"] = spec.admin_port if number == 0 else 0
            if spec.port:
                ports[name] = spec.port if number == 0 else 0
    return {name: remembered.get(name) or (port if usual else 0) for name, port in ports.items()}


def endpoints(wanted: Wanted, ports: Mapping[str, int], secrets: Secrets) -> Endpoints:
    def address(name: str, form: str) -> str:
        return form.format(ports[name]) if name in ports else ""

    stored = "s3" in ports
    admin = [name.removesuffix(":admin") for name in ports if name.endswith(":admin")]
    running = {name for spec in wanted.services for name in instances(spec)}
    return Endpoints(
        kafka=address("kafka", "127.0.0.1:{}"),
        redis_url=address("valkey", "redis://127.0.0.1:{}/0"),
        cache_url=address("valkey-cache", "redis://127.0.0.1:{}/0"),
        s3_endpoint=address("s3", "http://127.0.0.1:{}"),
        s3_bucket=s3proxy.BUCKET if stored else "",
        s3_region=s3proxy.REGION if stored else "",
        s3_access_key=secrets.s3_access_key if stored else "",
        s3_secret_key=secrets.s3_secret_key if stored else "",
        api_url=address("query-api", "http://127.0.0.1:{}"),
        ws_url=address("ws-gateway", "ws://127.0.0.1:{}"),
        api_token=secrets.api_token,
        analyst_token=secrets.analyst_token,
        admin_urls={name: f"http://127.0.0.1:{ports[f'{name}:admin']}" for name in admin if name in running},
    )


def servers(
    names: tuple[str, ...],
    paths: StackPaths,
    ports: Mapping[str, int],
    secrets: Secrets,
    env: Mapping[str, str],
    cache: Path,
    progress: Progress | None = None,
    *,
    kafka_proxy: str = "",
) -> list[Program]:
    """*Raises* `StackError` where jars cannot be fetched."""
    makers: dict[str, Callable[[], Program]] = {
        "kafka": lambda: kafka.kafka(
            paths, ports, class_path(lock_of("kafka"), cache, progress), env, proxy=kafka_proxy
        ),
        "valkey": lambda: valkey.valkey(paths, ports, env),
        "valkey-cache": lambda: valkey.cache(paths, ports, env),
        "s3proxy": lambda: s3proxy.s3proxy(paths, ports, class_path(lock_of("s3proxy"), cache, progress), secrets, env),
    }
    return [makers[name]() for name in names]


def services(
    wanted: Wanted, paths: StackPaths, ports: Mapping[str, int], reach: Endpoints, env: Mapping[str, str]
) -> list[Program]:
    env = reach.without_other_accounts(env)
    common = {**env, **_LOOPBACK, **reach.service_env(wanted.domains), **wanted.env, "PYTHONUNBUFFERED": "1"}
    common.setdefault("DATAFORGE_LAKE_CATALOG", str(lake_catalog(paths)))
    common["DATAFORGE_DOMAIN_CONTENT"] = str(wanted.domain_content)  # read by nobody: a change of it is a restart
    return [
        _service(spec, name, paths, ports, python, {**common, **more})
        for spec in wanted.services
        for python, more in [_runtime(spec, paths, env)]
        for name in instances(spec)
    ]


def _runtime(spec: ServiceSpec, paths: StackPaths, env: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Interpreter, and further environment."""
    if spec.environment == "lake":
        return str(lake.python()), lake.own_environment(paths, lake.jars(), env)
    return sys.executable, {}


def _service(
    spec: ServiceSpec,
    name: str,
    paths: StackPaths,
    ports: Mapping[str, int],
    python: str,
    common: Mapping[str, str],
) -> Program:
    admin = ports[f"{name}:admin"]
    own = {"DATAFORGE_INSTANCE": name, "DATAFORGE_ADMIN_PORT": str(admin)}
    if name in ports:
        own["DATAFORGE_PORT"] = str(ports[name])
    return Program(
        name=name,
        command=(python, "-m", spec.module, *spec.arguments),
        env={**common, **own},
        folder=paths.of(name),
        log=paths.log(name),
        ready=partial(http_ok, admin, "/readyz"),
        ports={k.partition(":")[2] or "port": v for k, v in ports.items() if k in (name, f"{name}:admin")},
    )
