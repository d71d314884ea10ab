#!/usr/bin/env bash
# engine.sh        makes sure that a Docker engine answers, and gets the images that `make it-docker` needs
# engine.sh stop   stops the engine, if it was started here
# Uses the engine that is there; on a Debian machine without one, installs and starts it (as root).
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p build
log() { printf 'engine: %s\n' "$*"; }
answers() { timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null | grep -q .; }

install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
    { log "none answers, and only root on Debian can install one here: start Docker and try again"; exit 1; }
  log "installing docker.io, iptables, mmdebstrap"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io iptables mmdebstrap \
    >build/apt.log 2>&1 || { tail -20 build/apt.log; exit 1; }
}

start() {
  command -v dockerd >/dev/null && command -v iptables >/dev/null || install
  answers && return  # where packages may start services, the installation did
  log "starting dockerd (log: build/dockerd.log)"
  setsid nohup dockerd --pidfile "$PWD/build/dockerd.pid" >build/dockerd.log 2>&1 </dev/null &
  for _ in $(seq 120); do answers && return; sleep 0.25; done
  tail -20 build/dockerd.log
  exit 1
}

stop() {
  local pid
  pid=$(cat build/dockerd.pid 2>/dev/null) && [ "$(ps -o comm= -p "$pid")" = dockerd ] ||
    { log "none runs that was started here"; return; }
  kill "$pid"
  for _ in $(seq 120); do kill -0 "$pid" 2>/dev/null || { log "stopped"; return; }; sleep 0.25; done
  log "dockerd (pid $pid) did not stop within 30 s"
  exit 1
}

if [ "${1:-}" = stop ]; then stop; exit; fi
answers || start
log "Docker $(docker version --format '{{.Server.Version}}') answers, storage $(docker info --format '{{.Driver}}')"
exec bash deploy/docker/images/build.sh
