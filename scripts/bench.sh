#!/usr/bin/env bash
# Run the named measurements (cluster, deploy, front, pool, rotation, scheduler, simulation; all without a name), options after a single name are its own:
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

cluster() {
  local venv
  scripts/ensure-redis.sh && scripts/ensure-haproxy.sh && venv=$(scripts/litellm-venv.sh) &&
    PYTHONPATH=.:tests:tests/unit:roles/litellm_proxy/filter_plugins .venv/bin/python -m bench.cluster --venv "$venv" "$@"
}
simulation() {
  # sets come in the same order in every run
  scripts/ensure-redis.sh &&
    PYTHONHASHSEED=0 PYTHONPATH=.:tests:roles/litellm_proxy/files .venv/bin/python -m bench.simulation "$@"
}

names=()
while [ $# -gt 0 ] && [[ $1 != -* ]]; do
  case $1 in
    cluster | deploy | front | pool | rotation | scheduler | simulation) names+=("$1") ;;
    *)
      echo "bench: unknown part '$1'; known are cluster, deploy, front, pool, rotation, scheduler and simulation" >&2
      exit 2
      ;;
  esac
  shift
done
[ ${#names[@]} -gt 0 ] || names=(scheduler simulation pool front cluster deploy rotation)
[ $# -eq 0 ] || [ ${#names[@]} -eq 1 ] || { echo "bench: options need one part before them, such as: pool $*" >&2; exit 2; }

failed=()
for name in "${names[@]}"; do
  printf '\n== %s\n' "$name"
  "$name" "$@" || failed+=("$name")
done
[ ${#failed[@]} -eq 0 ] || { printf '\n== FAILED: %s\n' "${failed[*]}" >&2; exit 1; }
