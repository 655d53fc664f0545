#!/usr/bin/env bash
# The tool chain of this checkout: .venv/ from the hash-locked requirements. Idempotent; run by every make target.
set -euo pipefail
cd "$(dirname "$0")/.."
cd "$(pwd -P)"

# The Makefile puts .venv/ first; what makes .venv/ must not run from it.
PATH=${PATH//"$PWD/.venv/bin:"/}
# Trust what the system trusts, a company's own CA included; uv and pip bring own lists otherwise.
system_trust=/etc/ssl/certs/ca-certificates.crt
if [ -r "$system_trust" ]; then
  export SSL_CERT_FILE=${SSL_CERT_FILE:-$system_trust} PIP_CERT=${PIP_CERT:-$system_trust}
fi

say() { printf '== %s\n' "$*"; }
die() { printf 'bootstrap: %s\n' "$*" >&2; exit 1; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  die "no Python 3.11, 3.12 or 3.13 found (Ansible needs one); install it (apt-get install python3.11) or name it: make PYTHON=/path/to/python3.12 …"
}

# Debian splits venv off python3; every other part of the tool chain comes from the locks.
ensure_venv_module() {
  local python=$1 package sudo=()
  "$python" -c 'import ensurepip, venv' 2>/dev/null && return
  package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
  command -v apt-get >/dev/null || die "$python lacks the venv module; install $package"
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null || { ! [ -t 0 ] && ! sudo -n true 2>/dev/null; }; then
      die "$python lacks the venv module and this user may not install it; have root run: apt-get install $package"
    fi
    sudo=(sudo)
  fi
  say "installing $package (once)"
  "${sudo[@]}" apt-get update -qq || die "apt-get update failed; its lines above say why"
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 ||
    die "apt-get install $package failed; its lines above say why"
}

python=$(find_python)
# A virtual environment holds its own path and its Python's version: moved or upgraded, it is made anew.
wanted=$({ cat requirements/uv.txt requirements/tools.txt; pwd; "$python" -V; } | sha256sum | cut -c1-16)
[ "$(cat .venv/.locked 2>/dev/null)" = "$wanted" ] && .venv/bin/python -c 'import ansible' 2>/dev/null && exit 0

ensure_venv_module "$python"
say "installing the tool chain into .venv/ from requirements/tools.txt (once, about a minute)"
rm -rf .venv
"$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt ||
  die "pip could not install uv; behind a company's own CA or index set PIP_CERT / PIP_INDEX_URL and run again"
.venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes -r requirements/tools.txt ||
  die "uv could not install the tool chain; behind a company's own CA or index set SSL_CERT_FILE / UV_DEFAULT_INDEX and run again"
echo "$wanted" >.venv/.locked
say "tool chain ready: ansible-core $(.venv/bin/python -c 'from importlib.metadata import version; print(version("ansible-core"))')"
