#!/usr/bin/env bash
# The programs haproxy, socat, keepalived and curl: those on the path, or Debian's, without their services. Idempotent;
# needs root to install.
programs="haproxy socat keepalived curl"
set -euo pipefail

say() { printf '== %s\n' "$*"; }
die() { printf 'ensure-haproxy: %s\n' "$*" >&2; exit 1; }
version() { haproxy -v 2>/dev/null | sed -n '1s/^HAProxy version \([^ ]*\).*/\1/p'; }
missing() { for program in $programs; do command -v "$program" >/dev/null || printf '%s ' "$program"; done; }

# system administrators' directories are not on every user's path
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
if [ -z "$(missing)" ]; then
  say "haproxy $(version) is here"
  exit 0
fi
command -v apt-get >/dev/null || die "missing: $(missing)- only Debian and Ubuntu can install it here; install it"
sudo=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null || { ! [ -t 0 ] && ! sudo -n true 2>/dev/null; }; then
    die "missing: $(missing)- and this user may not install it; have root run: $0"
  fi
  sudo=(sudo)
fi

# The tests start their own front: the package's service must neither start now nor with the host.
fresh=
command -v haproxy >/dev/null || fresh=yes
unit=/run/systemd/system/haproxy.service
masked=
unmask() { [ -z "$masked" ] || { "${sudo[@]}" rm -f "$unit" && "${sudo[@]}" systemctl daemon-reload; }; }
trap unmask EXIT
if [ -n "$fresh" ] && [ -d /run/systemd/system ] && [ ! -e "$unit" ] && [ ! -L "$unit" ]; then
  masked=yes
  "${sudo[@]}" ln -s /dev/null "$unit"
  "${sudo[@]}" systemctl daemon-reload
fi

say "installing $programs from the distribution's packages (once)"
log=$(mktemp)
"${sudo[@]}" apt-get update -qq >"$log" 2>&1 || { cat "$log" >&2; die "apt-get update failed; its lines above say why"; }
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $programs \
  >"$log" 2>&1 || { cat "$log" >&2; die "apt-get install $programs failed; its lines above say why"; }
rm -f "$log"
if [ -n "$fresh" ]; then
  if [ -d /run/systemd/system ]; then
    "${sudo[@]}" systemctl --quiet disable haproxy >/dev/null 2>&1 || true
  else
    "${sudo[@]}" /etc/init.d/haproxy stop >/dev/null 2>&1 || true
    "${sudo[@]}" update-rc.d haproxy disable >/dev/null 2>&1 || true
  fi
fi
[ -z "$(missing)" ] || die "the packages brought no program $(missing)"
