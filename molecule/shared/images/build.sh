#!/usr/bin/env bash
# Build the images of the test hosts from Debian's packages: `build.sh SUITE…` makes glm-pool-test:SUITE for each.
# An image that was built by this very recipe is kept.
set -euo pipefail
cd "$(dirname "$0")"

# No python3-venv and no compiler: what the role needs beyond a plain server it must install.
packages=systemd,systemd-sysv,dbus,libnss-systemd,python3,python3-apt,ca-certificates,iproute2,procps,curl,sudo,openssh-server,nftables
recipe=$(cat build.sh init | sha256sum | cut -c1-12)

say() { printf '== %s\n' "$*"; }
die() { printf 'images: %s\n' "$*" >&2; exit 1; }

install_mmdebstrap() {
  command -v mmdebstrap >/dev/null && [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] && return
  [ "$(id -u)" -eq 0 ] || die "mmdebstrap is missing; have root run: apt-get install mmdebstrap debian-archive-keyring"
  say "installing mmdebstrap"
  DEBIAN_FRONTEND=noninteractive apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mmdebstrap debian-archive-keyring >/dev/null
}

build() {
  local suite=$1 tag=glm-pool-test:$1 log
  if [ "$(docker image inspect --format '{{ index .Config.Labels "recipe" }}' "$tag" 2>/dev/null)" = "$recipe" ]; then
    say "image $tag is there"
    return
  fi
  log=$(mktemp)
  say "building image $tag from Debian's packages (about a minute)"
  # setsid: mmdebstrap signals its whole process group when it fails
  if ! setsid -w mmdebstrap --variant=minbase --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt=force-unsafe-io \
    --customize-hook='upload init /sbin/target-init' --customize-hook='chmod 755 "$1"/sbin/target-init' \
    --customize-hook='upload /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt' \
    --customize-hook='chroot "$1" systemctl mask systemd-udevd.service systemd-logind.service getty.target console-getty.service apt-daily.timer apt-daily-upgrade.timer nftables.service >/dev/null 2>&1' \
    --customize-hook='rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/machine-id; touch "$1"/etc/machine-id' \
    "$suite" - 2>"$log" |
    docker import --change 'CMD ["/sbin/target-init"]' --change 'ENV container=docker' \
      --change "LABEL recipe=$recipe" - "$tag" >>"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "image $tag could not be built; the lines above say why"
  fi
  rm -f "$log"
}

install_mmdebstrap
running=()
for suite in "$@"; do
  build "$suite" &
  running+=($!)
done
for pid in "${running[@]}"; do wait "$pid"; done
