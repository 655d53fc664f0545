#!/usr/bin/env bash
# Run the named steps (lint, unit, plays, gateway, pool, usage, demo, programs, molecule) in order; stop at the first that fails, print the times.
set -uo pipefail
cd "$(dirname "$0")/.."
# what the developer's own settings would change
unset ANSIBLE_CONFIG ANSIBLE_VAULT_PASSWORD_FILE
export ANSIBLE_FORCE_COLOR=0 PY_COLORS=0 NO_COLOR=1

lint() {
  ruff check . && ruff format --check . && mypy && yamllint --strict . && ansible-lint --offline -q &&
    python scripts/variables_table.py --check
}
# tests of one file share what it starts
unit() { python -m pytest -q --numprocesses 2 --dist loadfile tests/unit tests/simulator; }
plays() { scripts/ensure-redis.sh && python -m pytest -q --numprocesses 3 --dist loadfile tests/plays; }
gateway() { scripts/ensure-haproxy.sh && python -m pytest -q --numprocesses 2 --dist loadfile tests/gateway; }
pool() {
  scripts/litellm-venv.sh >/dev/null && scripts/litellm-venv.sh 1.109.1 >/dev/null &&
    scripts/ensure-redis.sh && python -m pytest -q --numprocesses 2 --dist loadfile tests/pool
}
usage() { scripts/ensure-chromium.sh && python -m pytest -q tests/usage; }
demo() { python -m pytest -q tests/demo; }
# Commands side by side; fails when one of them does.
beside() {
  local failed=0 command started=()
  for command in "$@"; do
    # each is a name and its words
    # shellcheck disable=SC2086
    $command & started+=($!)
  done
  for command in "${started[@]}"; do wait "$command" || failed=1; done
  return $failed
}
# Steps one after the other, what they print into a file.
into() {
  local log=$1 step
  shift
  for step in "$@"; do "$step" || return; done >"$log" 2>&1
}
# Those three side by side, as each waits for starts and time-outs; what they print comes at their end.
programs() {
  local failed=0
  mkdir -p .cache
  beside "into .cache/pool.log pool" "into .cache/usage-demo.log usage demo" || failed=1
  cat .cache/pool.log .cache/usage-demo.log
  return $failed
}
# The scenarios of one lane, one after the other; each one's output goes to a file, of which a failure shows the end.
lane() {
  local scenario log begin
  for scenario in "$@"; do
    log=.molecule/$scenario.log begin=$SECONDS
    printf '== molecule %s begins; its output: %s\n' "$scenario" "$log"
    if ! command molecule test --scenario-name "$scenario" >"$log" 2>&1; then
      tail -n 150 "$log"
      printf '== molecule %s FAILED after %d s; all of its output: %s\n' "$scenario" $((SECONDS - begin)) "$log"
      return 1
    fi
    grep -E '^=+ .* in [0-9.]+s' "$log"
    printf '== molecule %s passed after %d s\n' "$scenario" $((SECONDS - begin))
  done
}
molecule() {
  # systemd in a container writes its cgroups itself where there is one hierarchy
  [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] && export TEST_HOST_CGROUP=${TEST_HOST_CGROUP:-rw}
  scripts/test-hosts.sh litellm || return
  mkdir -p .molecule
  export PYTEST_ADDOPTS="--durations=15 --durations-min=5"
  # a scenario run by itself makes 2,000 in each case
  export CLUSTER_REQUESTS=${CLUSTER_REQUESTS:-500} HANDOVER_REQUESTS=${HANDOVER_REQUESTS:-400}
  # Two lanes side by side, of about the same length: hosts wait for networks and for each other much of the time.
  # Beside the cluster, which takes the time that checks and fail-overs need, only what puts no load on its hosts
  beside "lane handover default process bad_input" "lane compose clients cluster"
}
declare -A advice=(
  [lint]="ruff format . and ruff check --fix . mend most findings; make docs writes the table of variables"
  [unit]="run one test: .venv/bin/python -m pytest tests/unit -k NAME"
  [plays]="run one test: .venv/bin/python -m pytest tests/plays -k NAME"
  [gateway]="run one test: .venv/bin/python -m pytest tests/gateway -k NAME"
  [pool]="run one test: .venv/bin/python -m pytest tests/pool -k NAME; the proxies' logs are in /tmp/pytest-of-$(id -un)/"
  [usage]="run one test: .venv/bin/python -m pytest tests/usage -k NAME; its pictures are in /tmp/pytest-of-$(id -un)/"
  [demo]="run make demo by hand; its log is .demo/proxy/litellm-proxy.log"
  [programs]="run one part by itself: make pool, make usage, or .venv/bin/python -m pytest tests/demo"
  [molecule]="look at the host: .venv/bin/molecule test -s SCENARIO --destroy never, then docker exec -it HOST bash"
)

# an interrupt does not reach what a script runs beside itself
trap 'trap - INT TERM; kill 0' INT TERM

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
