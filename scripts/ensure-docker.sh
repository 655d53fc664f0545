#!/usr/bin/env bash
# A Docker Engine that answers: the running one, or Debian's, installed and started. Idempotent; needs root to install.
set -euo pipefail
log=${DOCKERD_LOG:-/var/log/dockerd.log}

say() { printf '== %s\n' "$*"; }
die() { printf 'ensure-docker: %s\n' "$*" >&2; exit 1; }
answers() { timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null; }

version=$(answers) && { say "Docker Engine $version answers"; exit 0; }
[ -z "${DOCKER_HOST:-}" ] || die "no Docker Engine answers on DOCKER_HOST=$DOCKER_HOST; start it, or unset the variable"
[ "$(id -u)" -eq 0 ] || die "no Docker Engine answers; start it, join its group, or run this as root: sudo $0"
command -v apt-get >/dev/null || die "no Docker Engine answers, and only Debian and Ubuntu can install one here"

if ! command -v dockerd >/dev/null || ! command -v iptables >/dev/null; then
  say "installing Docker Engine from the distribution's packages"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq || die "apt-get update failed; its lines above say why"
  apt-get install -y -qq --no-install-recommends docker.io iptables >/dev/null || die "apt-get install docker.io failed"
  version=$(answers) && { say "Docker Engine $version answers"; exit 0; }
fi

if [ -d /run/systemd/system ]; then
  systemctl start docker
else
  # No service manager: its own session, so that it outlives this shell. A stale pid file would stop it; `pgrep -r`
  # leaves out the dead one that nobody has reaped.
  pgrep -r R,S,D -x dockerd >/dev/null || rm -f /var/run/docker.pid
  setsid nohup dockerd >"$log" 2>&1 </dev/null &
fi
for _ in $(seq 240); do
  version=$(answers) && { say "Docker Engine $version is up"; exit 0; }
  sleep 0.25
done
tail -n 20 "$log" >&2 2>/dev/null || true
die "the Docker Engine did not come up; its log above says why"
