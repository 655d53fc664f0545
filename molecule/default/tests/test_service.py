"""The service as the host's administrator sees it."""

import re

import pytest
from host_support import MASTER_KEY, PORT, Proxy, hosts_of, play, wait_until
from testinfra.host import Host

testinfra_hosts = hosts_of("litellm_proxy")


def test_port_4000_listens(host: Host) -> None:
    assert host.socket(f"tcp://0.0.0.0:{PORT}").is_listening


def test_instance_runs_and_starts_on_boot(host: Host, proxy: Proxy) -> None:
    assert host.service(proxy.unit()).is_running
    assert host.service("litellm-proxy").is_enabled
    # what `current` names is all that a boot starts
    assert host.check_output("systemctl is-enabled %s", proxy.unit()) == "static"
    assert (
        proxy.unit() == f"litellm-proxy@{host.check_output('basename $(readlink /etc/litellm-proxy/current)')}.service"
    )


def test_gateway_runs_and_starts_on_boot(host: Host) -> None:
    service = host.service("litellm-gateway")
    assert service.is_running
    assert service.is_enabled


def test_service_stops_and_starts_as_one(host: Host, proxy: Proxy) -> None:
    before = proxy.main_pid()
    host.check_output("systemctl restart litellm-proxy")
    wait_until(lambda: proxy.main_pid() not in (0, before))
    assert proxy.chat().status_code == 200


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


def test_requests_outlive_a_crash_of_the_instance(host: Host, proxy: Proxy) -> None:
    before = proxy.main_pid()
    host.check_output("kill -9 %s", str(before))
    # until the kernel has closed its sockets it still takes requests, and to its end
    wait_until(lambda: host.run("test -e /proc/%s", str(before)).rc != 0)
    assert proxy.chat().status_code == 200
    wait_until(lambda: proxy.main_pid() not in (0, before))


def test_check_run_on_a_converged_host_changes_nothing() -> None:
    done = play("site.yml", {}, "--check", "--diff")
    assert done.returncode == 0, done.stdout
    assert re.findall(r"changed=(\d+)", done.stdout) == ["0", "0"]


def test_second_instance_refuses_the_taken_port(host: Host, proxy: Proxy) -> None:
    # LiteLLM itself would answer a taken port by listening on a random one
    place = f"/etc/litellm-proxy/{host.check_output('readlink /etc/litellm-proxy/current')}.env"
    port = host.check_output(f"sed -n s/LITELLM_PROXY_LISTEN_PORT=//p {place}")
    start = host.check_output("systemctl show -P ExecStart %s", proxy.unit())
    command = re.search(r"argv\[\]=(.*?) ;", start)
    assert command is not None
    credentials = '{"LITELLM_MASTER_KEY": "' + MASTER_KEY[::-1] + '"}'
    environment = host.check_output("systemctl show -P Environment %s", proxy.unit())
    second = host.run(
        f"d=$(mktemp -d); printf %s '{credentials}' > $d/litellm-proxy.json; "
        f"set -a; . {place}; env {environment} CREDENTIALS_DIRECTORY=$d {command[1]}; rc=$?; rm -r $d; exit $rc"
    )
    assert second.rc == 69
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in second.stderr
