#!/usr/bin/env bash
# The browser chromium: the one on the path, or Debian's. Idempotent; needs root to install.
set -euo pipefail

say() { printf '== %s\n' "$*"; }
die() { printf 'ensure-chromium: %s\n' "$*" >&2; exit 1; }
version() { chromium --version 2>/dev/null | sed -n 's/^Chromium \([^ ]*\).*/\1/p'; }

if command -v chromium >/dev/null; then
  say "chromium $(version) is here"
  exit 0
fi
command -v apt-get >/dev/null || die "chromium is missing, and only Debian can install it here; install Chromium"
# Ubuntu's package is a snap, which sees neither the tests' directories nor their pipes
grep -q '^ID=debian$' /etc/os-release || die "chromium is missing, and only Debian has a package of it; install Chromium"
sudo=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null || { ! [ -t 0 ] && ! sudo -n true 2>/dev/null; }; then
    die "chromium is missing and this user may not install it; have root run: $0"
  fi
  sudo=(sudo)
fi

say "installing chromium from the distribution's packages (once)"
log=$(mktemp)
"${sudo[@]}" apt-get update -qq >"$log" 2>&1 || { cat "$log" >&2; die "apt-get update failed; its lines above say why"; }
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core \
  >"$log" 2>&1 || { cat "$log" >&2; die "apt-get install chromium failed; its lines above say why"; }
rm -f "$log"
command -v chromium >/dev/null || die "the package chromium brought no program chromium"
