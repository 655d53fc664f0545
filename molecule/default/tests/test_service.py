"""The service as the host's administrator sees it."""

import re

import pytest
from host_support import MASTER_KEY, PORT, Proxy, hosts_of, play, wait_until
from testinfra.host import Host

testinfra_hosts = hosts_of("litellm_proxy")


def test_port_4000_listens(host: Host) -> None:
    assert host.socket(f"tcp://0.0.0.0:{PORT}").is_listening


def test_unit_runs_and_starts_on_boot(host: Host, proxy: Proxy) -> None:
    service = host.service(proxy.unit())
    assert service.is_running
    assert service.is_enabled


def test_runs_as_its_own_user(host: Host, proxy: Proxy) -> None:
    assert host.check_output("stat -c %%U /proc/%s", str(proxy.main_pid())) == "litellm-proxy"
    assert host.user("litellm-proxy").shell == "/usr/sbin/nologin"


def test_sandbox_exposure_is_at_most_2(host: Host, proxy: Proxy) -> None:
    report = host.check_output("systemd-analyze security --no-pager %s", proxy.unit())
    overall = re.search(r"Overall exposure level for \S+: ([\d.]+)", report)
    assert overall is not None, report
    assert float(overall[1]) <= 2.0


def test_unit_file_is_sound(host: Host, proxy: Proxy) -> None:
    verified = host.run("systemd-analyze verify /etc/systemd/system/%s", proxy.unit())
    assert (verified.rc, verified.stderr) == (0, "")


@pytest.mark.parametrize(
    ("setting", "value"), [("MemoryMax", str(2 * 2**30)), ("Restart", "on-failure"), ("NoNewPrivileges", "yes")]
)
def test_unit_setting(host: Host, proxy: Proxy, setting: str, value: str) -> None:
    assert host.check_output("systemctl show -P %s %s", setting, proxy.unit()) == value


def test_comes_back_after_kill_9(host: Host, proxy: Proxy) -> None:
    unit, before = proxy.unit(), proxy.main_pid()
    host.check_output("kill -9 %s", str(before))
    wait_until(lambda: not proxy.alive())
    wait_until(proxy.alive, seconds=120)
    wait_until(lambda: host.run("systemctl is-active %s", unit).rc == 0)
    assert proxy.main_pid() not in (0, before)
    assert proxy.chat().status_code == 200


def test_check_run_on_a_converged_host_changes_nothing() -> None:
    done = play("site.yml", {}, "--check", "--diff")
    assert done.returncode == 0, done.stdout
    assert re.findall(r"changed=(\d+)", done.stdout) == ["0", "0"]


def test_second_instance_refuses_the_taken_port(host: Host, proxy: Proxy) -> None:
    # LiteLLM itself would answer a taken port 4000 by listening on a random one
    start = host.check_output("systemctl show -P ExecStart %s", proxy.unit())
    command = re.search(r"argv\[\]=(.*?) ;", start)
    assert command is not None
    credentials = '{"LITELLM_MASTER_KEY": "' + MASTER_KEY[::-1] + '"}'
    environment = host.check_output("systemctl show -P Environment %s", proxy.unit())
    second = host.run(
        f"d=$(mktemp -d); printf %s '{credentials}' > $d/litellm-proxy.json; "
        f"env {environment} CREDENTIALS_DIRECTORY=$d {command[1]}; rc=$?; rm -r $d; exit $rc"
    )
    assert second.rc == 69
    assert "cannot listen on 0.0.0.0 port 4000: Address already in use" in second.stderr
