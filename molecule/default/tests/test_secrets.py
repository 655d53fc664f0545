"""No key value is where someone else could read it."""

import pytest
from host_support import KEY_VALUES, SECRETS, Proxy, hosts_of, play
from testinfra.host import Host

from zai_simulator.control_client import ControlClient

testinfra_hosts = hosts_of("litellm_proxy")


def assert_no_secret(text: str) -> None:
    leaked = [secret[:6] + "…" for secret in SECRETS if secret in text]
    assert leaked == []


def test_not_in_the_log_even_after_faults(proxy: Proxy, pool: ControlClient) -> None:
    pool.set_key("key-a", fault={"code": 1000})
    for _ in range(3):
        proxy.chat()
        proxy.message()
    journal = proxy.journal()
    assert "POST /v1/chat/completions" in journal
    assert_no_secret(journal)


def test_not_in_the_whole_journal_nor_log_files(host: Host) -> None:
    assert_no_secret(
        host.check_output("journalctl --no-pager; cat /var/log/*.log /var/log/apt/*.log 2>/dev/null || true")
    )


def test_not_in_the_process_list(host: Host) -> None:
    assert_no_secret(host.check_output("ps axeww"))


def test_not_in_the_initial_environment_of_the_service(host: Host, proxy: Proxy) -> None:
    pid = str(proxy.main_pid())
    assert_no_secret(host.check_output("cat /proc/%s/environ /proc/%s/cmdline", pid, pid))


@pytest.mark.parametrize("command", ["show", "cat"])
def test_not_in_the_unit(host: Host, proxy: Proxy, command: str) -> None:
    assert_no_secret(host.check_output("systemctl %s --no-pager %s", command, proxy.unit()))


def test_not_in_config_yaml(host: Host) -> None:
    config = host.file("/etc/litellm-proxy/current/config.yaml")
    assert (config.user, config.group, config.mode) == ("root", "litellm-proxy", 0o640)
    assert "os.environ/ZAI_API_KEY_KEY_A" in config.content_string
    assert_no_secret(config.content_string)


def test_credentials_are_for_root_alone(host: Host) -> None:
    credentials = host.file("/etc/litellm-proxy/current/credentials/litellm-proxy.json")
    assert (credentials.user, credentials.group, credentials.mode) == ("root", "root", 0o600)
    assert all(value in credentials.content_string for value in KEY_VALUES.values())


@pytest.mark.parametrize(
    ("user", "own_credentials"),
    [("nobody", ""), ("litellm-proxy", "--exclude-dir=credentials")],
    ids=["nobody", "service"],
)
def test_in_no_file_that_others_can_read(host: Host, user: str, own_credentials: str) -> None:
    for secret in SECRETS:
        found = host.run(
            f"runuser -u %s -- grep -rlIsF {own_credentials} -e %s "
            "/etc /home /opt/litellm-proxy/locks /root /run /srv /tmp /var",
            user,
            secret,
        )
        assert found.stdout == ""


def test_not_in_the_diff_of_a_rotation() -> None:
    new = "9c3b1d5e7f90a2b4c6d8e0f1a3b5c7d9.Zx8YtR6wQm4LnB2k"
    keys = [{"name": "key-a", "key": new}]
    done = play("site.yml", {"litellm_proxy_zai_keys": keys}, "--check", "--diff", "-vvv")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "key key-a: another value" in done.stdout
    assert "key key-b: removed" in done.stdout
    assert_no_secret(done.stdout + done.stderr)
    assert new not in done.stdout + done.stderr
