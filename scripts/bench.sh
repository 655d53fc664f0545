#!/usr/bin/env bash
# Run the named measurements (deploy, front, pool, rotation, scheduler; all without a name), options after a single name are its own:
# `make bench ARGS="pool --quick"`.
set -euo pipefail
cd "$(dirname "$0")/.."

deploy() { scripts/bench-deploy.sh "$@"; }
pool() {
  local venv
  scripts/ensure-redis.sh && venv=$(scripts/litellm-venv.sh) &&
    PYTHONPATH=.:tests:tests/unit:roles/litellm_proxy/filter_plugins .venv/bin/python -m bench.pool --venv "$venv" "$@"
}
front() {
  local venv
  scripts/ensure-haproxy.sh && venv=$(scripts/litellm-venv.sh) &&
    PYTHONPATH=.:tests:tests/unit:roles/litellm_proxy/filter_plugins .venv/bin/python -m bench.front --venv "$venv" "$@"
}
rotation() {
  scripts/ensure-docker.sh && molecule/shared/images/build.sh trixie &&
    PYTHONPATH=.:tests:tests/unit .venv/bin/python -m bench.rotation "$@"
}
scheduler() { PYTHONPATH=tests:roles/litellm_proxy/files .venv/bin/python -m bench.scheduler "$@"; }

names=()
while [ $# -gt 0 ] && [[ $1 != -* ]]; do
  case $1 in
    deploy | front | pool | rotation | scheduler) names+=("$1") ;;
    *) echo "bench: unknown part '$1'; known are deploy, front, pool, rotation and scheduler" >&2; exit 2 ;;
  esac
  shift
done
[ ${#names[@]} -gt 0 ] || names=(scheduler pool front deploy rotation)
[ $# -eq 0 ] || [ ${#names[@]} -eq 1 ] || { echo "bench: options need one part before them, such as: pool $*" >&2; exit 2; }

failed=()
for name in "${names[@]}"; do
  printf '\n== %s\n' "$name"
  "$name" "$@" || failed+=("$name")
done
[ ${#failed[@]} -eq 0 ] || { printf '\n== FAILED: %s\n' "${failed[*]}" >&2; exit 1; }
