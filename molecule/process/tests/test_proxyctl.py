"""litellm-proxyctl in the hands of the user who runs the proxy."""

import json

from host_support import KEY_VALUES, SECRETS, hosts_of
from process_support import COMMAND, USER, Instance
from testinfra.host import Host

testinfra_hosts = hosts_of("litellm_proxy")


def test_status_and_keys(proxy: Instance) -> None:
    status = json.loads(proxy.proxyctl("status --json"))
    assert (status["service"]["state"], status["service"]["generation"]) == ("running", proxy.generation())
    table = proxy.proxyctl("keys")
    assert all(f"\n{name} " in table for name in KEY_VALUES)


def test_check_finds_no_fault_and_shows_no_secret(proxy: Instance) -> None:
    assert proxy.chat().status_code == 200
    shown = proxy.proxyctl("check --json")
    assert {finding["level"] for finding in json.loads(shown)["findings"]} == {"ok"}
    assert [secret for secret in SECRETS if secret in shown] == []


def test_stop_start_restart_and_log(host: Host, proxy: Instance) -> None:
    proxy.proxyctl("stop")
    down = host.run(f"runuser -u {USER} -- env -i HOME=/home/{USER} PATH=/usr/bin:/bin {COMMAND} status")
    assert down.rc == 3
    proxy.proxyctl("start")
    assert proxy.chat().status_code == 200
    before = proxy.main_pid()
    proxy.proxyctl("restart")
    assert proxy.main_pid() not in (0, before)
    assert proxy.chat().status_code == 200
    assert "POST /v1/chat/completions" in proxy.proxyctl("logs -n 200")
