#!/usr/bin/env bash
# LiteLLM as the role installs it, for tests and benchmarks: makes .cache/litellm-HASH/ from the role's lock when it is
# missing, and prints its path. Several may call it at once. Usage: litellm-venv.sh [VERSION], one with a lock.
set -euo pipefail
cd "$(dirname "$0")/.."
cd "$(pwd -P)"
version=${1:-1.108.11}
locks=roles/litellm_proxy/files/locks
lock=$locks/litellm-$version.txt
[ -f "$lock" ] || { echo "litellm-venv: there is no $lock; make litellm-$version.in there and run: make lock" >&2; exit 1; }
python=.venv/bin/python
[ -x $python ] || { echo "litellm-venv: no tool chain; run: make setup" >&2; exit 1; }

hash=$({ cat "$lock"; $python -V; pwd; } | sha256sum | cut -c1-12)
venv=$PWD/.cache/litellm-$hash
mkdir -p .cache
exec 9>.cache/litellm.lock
flock 9
if [ ! -e "$venv/.complete" ]; then
  echo "== installing LiteLLM $version into ${venv#"$PWD/"} (once, about a minute)" >&2
  # Trust what the system trusts, a company's own CA included.
  system_trust=/etc/ssl/certs/ca-certificates.crt
  [ ! -r $system_trust ] || export SSL_CERT_FILE=${SSL_CERT_FILE:-$system_trust}
  .venv/bin/uv venv --quiet --clear --python "$($python -c 'import sys; print(sys._base_executable)')" "$venv" >&2
  .venv/bin/uv pip install --quiet --python "$venv/bin/python" --require-hashes --no-deps --requirements "$lock" >&2
  # 1: some file of a package is for another Python; it is not imported either
  "$venv/bin/python" -m compileall -q -j 0 "$venv/lib" >&2 || [ $? -eq 1 ]
  touch "$venv/.complete"
fi
echo "$venv"
