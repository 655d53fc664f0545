#!/usr/bin/env bash
# The demo on this machine: `demo.sh start` (PORT=4000) and `demo.sh stop`. Run by `make demo` and `make demo-stop`.
set -euo pipefail
cd "$(dirname "$0")/.."
cd "$(pwd -P)"
demo=.demo
supervisor=$demo/proxy/supervisor

# A port once chosen stays, so that a second start changes nothing.
free_port() { .venv/bin/python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port_is_free() {
  .venv/bin/python -c 'import socket, sys; socket.create_server(("127.0.0.1", int(sys.argv[1])))' "$1" 2>/dev/null
}
simulator_pid() { cat $demo/simulator.pid 2>/dev/null || true; }
# Whether process $1 runs and is ours: its command line holds $2. One that has ended and that nobody has reaped (in
# containers) has no command line, and after a reboot another program may have the number.
runs() { [ -n "$1" ] && tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -qF -- "$2"; }
simulator_runs() { runs "$(simulator_pid)" "-m zai_simulator --config $PWD/$demo/"; }
end() { # process, its mark
  for _ in $(seq 700); do runs "$1" "$2" || return 0; sleep 0.2; done
  echo "process $1 ($2) does not end; look at it, then: kill -9 $1" >&2
  exit 1
}

start() {
  local port simulator_port
  mkdir -p $demo
  chmod 700 $demo
  port=${PORT:-$(cat $demo/port 2>/dev/null || echo 4000)}
  simulator_port=$(cat $demo/simulator-port 2>/dev/null || true)
  if ! simulator_runs && { [ -z "$simulator_port" ] || ! port_is_free "$simulator_port"; }; then
    simulator_port=$(free_port)
  fi
  .venv/bin/ansible-playbook -i inventory/demo playbooks/demo.yml \
    -e "demo_port=$port" -e "demo_simulator_port=$simulator_port" "$@"
  echo "$port" >$demo/port
  echo "$simulator_port" >$demo/simulator-port
  cat <<TEXT

The proxy answers on http://127.0.0.1:$port, in front of a simulated Z.AI with three keys. Next:

  . $demo/client.env
  curl -s --noproxy '*' \$OPENAI_BASE_URL/chat/completions -H "Authorization: Bearer \$OPENAI_API_KEY" \\
    -H 'Content-Type: application/json' -d '{"model": "glm-pool", "messages": [{"role": "user", "content": "Hello!"}]}'

  Claude Code, in the same shell:   claude
  (it reads ANTHROPIC_BASE_URL and ANTHROPIC_AUTH_TOKEN from there; every claude-* model is served by the pool)

  Which key answered what:          curl -s http://127.0.0.1:$simulator_port/_control/stats
  How it is:                        $demo/proxy/bin/litellm-proxyctl --settings $demo/proxy/proxyctl.json status
  The proxy's log:                  tail -f $demo/proxy/litellm-proxy.log
  Stop everything:                  make demo-stop
TEXT
}

stop() {
  local pid
  pid=$(cat $supervisor/supervisord.pid 2>/dev/null || true)
  if runs "$pid" "$PWD/$supervisor/supervisord.conf"; then
    "$demo/proxy/venvs/supervisor/bin/supervisorctl" -c $supervisor/supervisord.conf shutdown
    end "$pid" "$PWD/$supervisor/supervisord.conf"
  fi
  pid=$(simulator_pid)
  if simulator_runs; then
    kill "$pid"
    end "$pid" "-m zai_simulator"
  fi
  rm -f $demo/simulator.pid
  echo "The demo is stopped. Its files are in $demo/; \`make demo\` starts it again, \`rm -r $demo\` forgets it."
}

case ${1:-} in
  start) shift; start "$@" ;;
  stop) stop ;;
  *) echo "usage: scripts/demo.sh start|stop" >&2; exit 2 ;;
esac
