#!/usr/bin/env bash
# Makes sure that a Docker engine answers and that the images the container suite needs exist.
# Uses the engine that is there; on a Debian machine without one, installs and starts it (as root).
set -euo pipefail
cd "$(dirname "$0")/../.."
log() { printf '%s\n' "engine: $*"; }

if ! docker version >/dev/null 2>&1; then
  log "none answers; installing and starting one"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io iptables mmdebstrap >/dev/null
  mkdir -p build
  nohup dockerd >build/dockerd.log 2>&1 </dev/null &
  for _ in $(seq 60); do docker version >/dev/null 2>&1 && break; sleep 0.5; done
fi
docker version --format 'engine: {{.Server.Version}}' || { tail -20 build/dockerd.log; exit 1; }
