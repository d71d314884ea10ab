#!/usr/bin/env bash
# Gets the images of `make it-docker`: public ones where a registry can be reached, else stand-ins built here from
# Debian's packages and the embedded stack's jars; then builds the service images. Names go to build/images.env.
# Idempotent: what is unchanged comes from the build cache.
set -euo pipefail
cd "$(dirname "$0")/../../.."
here=deploy/docker/images
context=build/images
services=(landing-worker quality-worker aggregator query-api ws-gateway)
log() { printf 'images: %s (%d s)\n' "$*" "$SECONDS"; }

# A newer client builds only with the buildx plugin; Debian's own client needs none.
docker=docker
docker buildx version >/dev/null 2>&1 || [ ! -x /usr/bin/docker ] || docker=/usr/bin/docker
build() { # name, then what `docker build` takes
  DOCKER_BUILDKIT=1 "$docker" build --progress=plain -t "$1" "${@:2}" >build/image.log 2>&1 ||
    { cat build/image.log; log "building $1 failed"; exit 1; }
  log "$1"
}

# Certificates this machine trusts beyond the public ones: an image build behind the same proxy needs them too.
certificates() {
  rm -rf build/ca && mkdir -p build/ca
  find /usr/local/share/ca-certificates -name '*.crt' -exec cp {} build/ca/ \; 2>/dev/null || true
  case "${SSL_CERT_FILE:-}" in "" | /etc/ssl/certs/ca-certificates.crt) ;; *) cp "$SSL_CERT_FILE" build/ca/given.crt ;; esac
}

pull_public() {
  timeout 20 "$docker" pull -q hello-world >/dev/null 2>&1 || return 1
  local name
  for name in apache/kafka:4.1.0 valkey/valkey:8 andrewgaul/s3proxy:4.1.0 python:3.11-slim-bookworm; do
    "$docker" pull -q "$name" || return 1
    log "$name"
  done
}

build_local() {
  if ! "$docker" image inspect local/debian:bookworm-slim >/dev/null 2>&1; then
    command -v mmdebstrap >/dev/null || apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null
    mmdebstrap --quiet --variant=minbase --include=ca-certificates bookworm - |
      "$docker" import - local/debian:bookworm-slim >/dev/null
  fi
  log local/debian:bookworm-slim
  mkdir -p "$context"
  .venv/bin/python -m devstack.testing.image_context "$context"
  cp -r "$here"/kafka-bin "$here"/s3proxy-bin "$context"/
  build local/kafka:4.1.0 --target kafka -f "$here/servers.Dockerfile" "$context"
  build local/s3proxy:4.1.0 --target s3proxy -f "$here/servers.Dockerfile" "$context"
  build local/redis:7 --target redis -f "$here/servers.Dockerfile" "$context"
  build local/python:3.11-slim-bookworm -f "$here/python.Dockerfile" "$context"
}

write_names() { # kafka, redis, s3
  printf 'DATAFORGE_TEST_%s\n' "KAFKA_IMAGE=$1" "REDIS_IMAGE=$2" "S3_IMAGE=$3" >build/images.env
}

certificates
if pull_public; then
  base=python:3.11-slim-bookworm
  write_names apache/kafka:4.1.0 valkey/valkey:8 andrewgaul/s3proxy:4.1.0
else
  log "no registry can be reached: building stand-ins"
  build_local
  base=local/python:3.11-slim-bookworm
  write_names local/kafka:4.1.0 local/redis:7 local/s3proxy:4.1.0
fi
for service in "${services[@]}"; do
  build "dataforge/$service:local" -f deploy/docker/service.Dockerfile \
    --build-arg BASE_IMAGE="$base" --build-arg SERVICE="$service" .
done
