#!/usr/bin/env bash
# Run the named steps (lint, unit, gateway, pool, demo, molecule) in order; stop at the first that fails, print the times.
set -uo pipefail
cd "$(dirname "$0")/.."
# what the developer's own settings would change
unset ANSIBLE_CONFIG ANSIBLE_VAULT_PASSWORD_FILE
export ANSIBLE_FORCE_COLOR=0 PY_COLORS=0 NO_COLOR=1

lint() {
  ruff check . && ruff format --check . && mypy && yamllint --strict . && ansible-lint --offline -q &&
    python scripts/variables_table.py --check
}
unit() { python -m pytest -q tests/unit tests/simulator; }
gateway() { scripts/ensure-haproxy.sh && python -m pytest -q tests/gateway; }
pool() {
  scripts/litellm-venv.sh >/dev/null && scripts/litellm-venv.sh 1.109.1 >/dev/null &&
    scripts/ensure-redis.sh && python -m pytest -q tests/pool
}
demo() { python -m pytest -q tests/demo; }
molecule() {
  # systemd in a container writes its cgroups itself where there is one hierarchy
  [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] && export TEST_HOST_CGROUP=${TEST_HOST_CGROUP:-rw}
  scripts/test-hosts.sh || return
  for scenario in default bad_input shared_limits handover; do
    command molecule test --scenario-name "$scenario" || return
  done
}
declare -A advice=(
  [lint]="ruff format . and ruff check --fix . mend most findings; make docs writes the table of variables"
  [unit]="run one test: .venv/bin/python -m pytest tests/unit -k NAME"
  [gateway]="run one test: .venv/bin/python -m pytest tests/gateway -k NAME"
  [pool]="run one test: .venv/bin/python -m pytest tests/pool -k NAME; the proxies' logs are in /tmp/pytest-of-$(id -un)/"
  [demo]="run make demo by hand; its log is .demo/proxy/litellm-proxy.log"
  [molecule]="look at the host: .venv/bin/molecule test -s SCENARIO --destroy never, then docker exec -it HOST bash"
)

summary=()
for step in "$@"; do
  printf '\n== %s (%s of: %s)\n' "$step" "$((${#summary[@]} + 1))" "$*"
  begin=$SECONDS
  if ! "$step"; then
    printf '\n== %s FAILED after %d s; %s\n' "$step" $((SECONDS - begin)) "${advice[$step]}" >&2
    exit 1
  fi
  summary+=("$(printf '%-10s %5d s' "$step" $((SECONDS - begin)))")
done
printf '\n== all passed\n'
printf '   %s\n' "${summary[@]}" "$(printf '%-10s %5d s' total $SECONDS)"
