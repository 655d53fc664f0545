"""The proxy as its clients and its user see it."""

import pytest
from host_support import KEY_VALUES, PORT, SECRETS, SERVED_MODELS, hosts_of, wait_until
from process_support import USER, Instance
from testinfra.host import Host

from zai_simulator.control_client import ControlClient

testinfra_hosts = hosts_of("litellm_proxy")


def test_port_4000_listens(host: Host) -> None:
    assert host.socket(f"tcp://0.0.0.0:{PORT}").is_listening


def test_all_of_it_runs_as_the_user(host: Host, proxy: Instance) -> None:
    for pid in (proxy.main_pid(), proxy.supervisor_pid()):
        assert host.check_output(f"stat -c %U /proc/{pid}") == USER
    assert host.run(f"runuser -u {USER} -- sudo -n true").rc != 0


def test_survives_the_session_that_started_it(host: Host, proxy: Instance) -> None:
    # a session of its own: no terminal that hangs up can end it
    assert host.check_output(f"ps -o sid= -p {proxy.supervisor_pid()}").strip() == str(proxy.supervisor_pid())


@pytest.mark.parametrize("path", ["/health/liveliness", "/health/readiness"])
def test_is_healthy(proxy: Instance, path: str) -> None:
    assert proxy.call(path, headers={}).status_code == 200


def test_serves_the_pools(proxy: Instance) -> None:
    assert sorted(model["id"] for model in proxy.call("/v1/models").json()["data"]) == SERVED_MODELS


def test_answers_over_both_apis(proxy: Instance) -> None:
    assert proxy.chat("hi").json()["choices"][0]["message"]["content"] == "simulated answer to: hi"
    assert proxy.message("hi").json()["content"][-1]["text"] == "simulated answer to: hi"


def test_keys_take_strict_turns(proxy: Instance, pool: ControlClient) -> None:
    for _ in range(4 * len(KEY_VALUES)):
        assert proxy.chat().status_code == 200
    assert {seen["requests"] for seen in pool.stats()["keys"].values()} == {4}


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer sk-wrong-0123456789abcdef"}], ids=["none", "wrong"])
def test_another_key_is_refused(proxy: Instance, headers: dict[str, str]) -> None:
    assert proxy.call("/v1/models", headers=headers).status_code == 401


def test_crashed_instance_comes_back(host: Host, proxy: Instance) -> None:
    before = proxy.main_pid()
    host.check_output(f"kill -9 {before}")
    wait_until(lambda: proxy.main_pid() not in (0, before) and proxy.alive())
    assert proxy.chat().status_code == 200


def test_full_log_begins_anew(host: Host, proxy: Instance) -> None:
    # all but full, as requests alone would take thousands to fill it
    fill = f"yes earlier | head -c $((2**20 - $(stat -c %s {proxy.log}))) >>{proxy.log}"
    host.check_output(f"runuser -u {USER} -- bash -c %s", fill)
    wait_until(lambda: proxy.chat().status_code == 200 and host.file(f"{proxy.log}.1").exists)
    for log in (proxy.log, f"{proxy.log}.1"):
        assert (host.file(log).user, host.file(log).mode) == (USER, 0o600)
        assert host.file(log).size < 1.1 * 2**20


def test_secrets_are_in_no_log_and_on_no_command_line(host: Host, proxy: Instance, pool: ControlClient) -> None:
    # what an upstream repeats of a key is masked too
    pool.set_key("key-a", fault={"code": "1305", "echo_key": True})
    for _ in KEY_VALUES:
        assert proxy.chat().status_code == 200
    logs = host.check_output(f"cat {proxy.log}* {proxy.home}/supervisor/*.log")
    assert "POST /v1/chat/completions" in logs
    pid = proxy.main_pid()
    seen = logs + host.check_output(f"ps axeww; cat /proc/{pid}/environ /proc/{pid}/cmdline; journalctl --no-pager")
    assert [secret[:6] for secret in SECRETS if secret in seen] == []


def test_secrets_are_in_no_file_that_others_can_read(host: Host, proxy: Instance) -> None:
    assert host.run(f"runuser -u nobody -- ls {proxy.home}").rc == 0
    for secret in SECRETS:
        found = host.run("runuser -u nobody -- grep -rlIsF -e %s /etc /home /tmp /var", secret)
        assert found.stdout == ""
    credentials = host.file(f"{proxy.home}/config/current/credentials/litellm-proxy.json")
    assert (credentials.user, credentials.mode) == (USER, 0o600)
