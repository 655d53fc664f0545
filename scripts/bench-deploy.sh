#!/usr/bin/env bash
# How long a deploy over SSH takes on one fresh host in Docker, all rows in one run. Run by `make bench ARGS=deploy`.
set -euo pipefail
cd "$(dirname "$0")/.."
image=glm-pool-test:trixie
host=glm-bench-$$
work=$(mktemp -d)
cleanup() { docker rm --force --volumes "$host" >/dev/null 2>&1 || true; rm -rf "$work"; }
trap cleanup EXIT

scripts/ensure-docker.sh
molecule/shared/images/build.sh trixie
cgroup=ro
[ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] && cgroup=rw
docker run --detach --name "$host" --hostname "$host" --cgroupns host --publish 127.0.0.1::22 \
  --cap-add SYS_ADMIN --cap-add NET_ADMIN --cap-add SYS_PTRACE \
  --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
  --tmpfs /run --tmpfs /run/lock --tmpfs /tmp:exec --volume "/sys/fs/cgroup:/sys/fs/cgroup:$cgroup" \
  --stop-signal SIGRTMIN+3 "$image" >/dev/null
on_host() { docker exec --interactive "$host" "$@"; }
for _ in $(seq 240); do
  case $(on_host systemctl is-system-running 2>/dev/null) in running | degraded) break ;; esac
  sleep 0.25
done

ssh-keygen -q -t ed25519 -N '' -f "$work/key"
on_host useradd --create-home --shell /bin/bash deploy
on_host sh -c 'echo "deploy ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/deploy; rm -f /run/nologin
  install -d -m 700 -o deploy -g deploy /home/deploy/.ssh; cat >/home/deploy/.ssh/authorized_keys' <"$work/key.pub"
port=$(docker port "$host" 22 | sed -n 's/.*://p' | head -n 1)
ssh-keyscan -p "$port" 127.0.0.1 >"$work/known_hosts" 2>/dev/null

random() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }
cat >"$work/hosts.yml" <<YAML
litellm_proxy:
  hosts:
    bench:
      ansible_host: 127.0.0.1
      ansible_port: $port
      ansible_user: deploy
      ansible_ssh_private_key_file: $work/key
      ansible_ssh_common_args: -o UserKnownHostsFile=$work/known_hosts
  vars:
    litellm_proxy_master_key: sk-$(random 24)
    litellm_proxy_zai_keys:
      - {name: a, key: $(random 16).$(random 8)}
      - {name: b, key: $(random 16).$(random 8)}
      - {name: c, key: $(random 16).$(random 8)}
YAML
deploy() { # label, goal, options…
  local label=$1 goal=$2 begin changed
  shift 2
  printf '== %s\n' "$label"
  begin=$(date +%s.%N)
  ansible-playbook -i "$work/hosts.yml" site.yml "$@" >"$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; exit 1; }
  changed=$(sed -n 's/^bench .*changed=\([0-9]*\).*/\1/p' "$work/log")
  rows+=("$(printf '| %-46s | %7.1f s | %-8s | %7s |' "$label" "$(echo "$(date +%s.%N) $begin" | awk '{print $1 - $2}')" "$goal" "$changed")")
}

rows=()
deploy 'first deploy, nothing cached' '-'
on_host sh -c 'systemctl stop "litellm-proxy@*"; rm -rf /opt/litellm-proxy/venvs /etc/litellm-proxy \
  /etc/systemd/system/litellm-proxy@* /etc/systemd/system/multi-user.target.wants/litellm-proxy@*; systemctl daemon-reload'
deploy 'first deploy, packages cached' '< 60 s'
deploy 'second run, nothing to change' '< 15 s'
deploy 'one key replaced' '-' -e "{litellm_proxy_zai_keys: [{name: a, key: $(random 16).$(random 8)}]}"
printf '\n| %-46s | %9s | %-8s | %7s |\n|%s|%s|%s|%s|\n' 'one host over SSH' 'time' 'goal' 'changed' \
  "$(printf -- '-%.0s' {1..48})" "$(printf -- '-%.0s' {1..11})" "$(printf -- '-%.0s' {1..10})" "$(printf -- '-%.0s' {1..9})"
printf '%s\n' "${rows[@]}"
