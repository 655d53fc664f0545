#!/usr/bin/env bash
# The program redis-server: the one on the path, or Debian's, installed without its service. Idempotent; needs root to
# install.
set -euo pipefail

say() { printf '== %s\n' "$*"; }
die() { printf 'ensure-redis: %s\n' "$*" >&2; exit 1; }
version() { redis-server --version 2>/dev/null | sed -n 's/.* v=\([^ ]*\).*/\1/p'; }

# system administrators' directories are not on every user's path
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
if command -v redis-server >/dev/null; then
  say "redis-server $(version) is here"
  exit 0
fi
command -v apt-get >/dev/null || die "redis-server is missing, and only Debian and Ubuntu can install it here; install Redis"
sudo=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null || { ! [ -t 0 ] && ! sudo -n true 2>/dev/null; }; then
    die "redis-server is missing and this user may not install it; have root run: $0"
  fi
  sudo=(sudo)
fi

# The tests start their own servers: the package's service must neither start now nor with the host.
unit=/run/systemd/system/redis-server.service
masked=
unmask() { [ -z "$masked" ] || { "${sudo[@]}" rm -f "$unit" && "${sudo[@]}" systemctl daemon-reload; }; }
trap unmask EXIT
if [ -d /run/systemd/system ] && [ ! -e "$unit" ] && [ ! -L "$unit" ]; then
  masked=yes
  "${sudo[@]}" ln -s /dev/null "$unit"
  "${sudo[@]}" systemctl daemon-reload
fi

say "installing redis-server from the distribution's packages (once)"
log=$(mktemp)
"${sudo[@]}" apt-get update -qq >"$log" 2>&1 || { cat "$log" >&2; die "apt-get update failed; its lines above say why"; }
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server \
  >"$log" 2>&1 || { cat "$log" >&2; die "apt-get install redis-server failed; its lines above say why"; }
rm -f "$log"
if [ -d /run/systemd/system ]; then
  "${sudo[@]}" systemctl --quiet disable redis-server >/dev/null 2>&1 || true
else
  "${sudo[@]}" /etc/init.d/redis-server stop >/dev/null 2>&1 || true
  "${sudo[@]}" update-rc.d redis-server disable >/dev/null 2>&1 || true
fi
command -v redis-server >/dev/null || die "the package redis-server brought no program redis-server"
