"""The container as the host's administrator sees it."""

import json
import re

import pytest
from handover_support import ContainerSite
from host_support import KEY_VALUES, PORT, SECRETS, ContainerProxy, hosts_of, play, wait_until
from testinfra.host import Host

testinfra_hosts = hosts_of("litellm_proxy")


def assert_no_secret(text: str) -> None:
    leaked = [secret[:6] + "…" for secret in SECRETS if secret in text]
    assert leaked == []


def test_port_4000_listens(host: Host) -> None:
    assert host.socket(f"tcp://0.0.0.0:{PORT}").is_listening


def test_the_official_image_runs_by_its_digest(proxy: ContainerProxy) -> None:
    assert re.fullmatch(r"ghcr\.io/berriai/litellm@sha256:[0-9a-f]{64}", proxy.inspect("{{.Config.Image}}"))


def test_it_is_healthy_in_dockers_eyes(proxy: ContainerProxy) -> None:
    wait_until(lambda: proxy.inspect("{{.State.Health.Status}}") == "healthy")


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{.HostConfig.RestartPolicy.Name}}", "unless-stopped"),
        ("{{.HostConfig.ReadonlyRootfs}}", "true"),
        ("{{.HostConfig.CapDrop}}", "[ALL]"),
        ("{{.HostConfig.CapAdd}}", "[]"),
        ("{{.HostConfig.Privileged}}", "false"),
        ("{{.HostConfig.SecurityOpt}}", "[no-new-privileges:true]"),
        ("{{.HostConfig.Memory}}", str(2 * 2**30)),
        ("{{.HostConfig.MemorySwap}}", str(2 * 2**30)),
        ("{{.HostConfig.PidsLimit}}", "256"),
        ("{{.HostConfig.LogConfig.Type}}", "json-file"),
        ('{{index .HostConfig.LogConfig.Config "max-size"}}', "50m"),
        ('{{index .HostConfig.LogConfig.Config "max-file"}}', "3"),
    ],
)
def test_setting_of_the_container(proxy: ContainerProxy, template: str, value: str) -> None:
    assert proxy.inspect(template) == value


def test_the_process_has_no_rights(host: Host, proxy: ContainerProxy) -> None:
    status = host.check_output("cat /proc/%s/status", str(proxy.main_pid()))
    assert host.check_output("stat -c %%U /proc/%s", str(proxy.main_pid())) == "litellm-proxy"
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert re.search(rf"^{capabilities}:\s0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s1$", status, re.MULTILINE)


def test_the_image_and_the_plug_in_cannot_be_written(host: Host, proxy: ContainerProxy) -> None:
    for path in ("/app/new", "/opt/glm-pool/glm_pool/new.py", "/app/config.yaml"):
        assert host.run("docker exec %s sh -c 'echo x >> %s'", proxy.container(), path).rc != 0


def test_the_instance_is_not_on_the_network(host: Host) -> None:
    listening = host.check_output("ss -ltnH '( sport = :4001 or sport = :4002 )'").split()
    assert listening[3] in ("127.0.0.1:4001", "127.0.0.1:4002")


def test_compose_file_follows_the_specification_and_names_the_seeds_service(host: Host) -> None:
    described = json.loads(host.check_output("cd /etc/litellm-proxy/current && docker compose config --format json"))
    assert list(described["services"]) == ["litellm"]
    assert not re.search(
        r"^version:", host.file("/etc/litellm-proxy/current/compose.yaml").content_string, re.MULTILINE
    )


def test_no_secret_in_what_docker_tells(host: Host, proxy: ContainerProxy) -> None:
    proxy.chat()
    commands = (
        f"docker inspect {proxy.container()}",
        "cd /etc/litellm-proxy/current && docker compose config",
        f"docker logs {proxy.container()} 2>&1",
        f"docker top {proxy.container()}",
        "docker ps -a --no-trunc",
        f"docker history --no-trunc {proxy.inspect('{{.Image}}')}",
        "cat /etc/litellm-proxy/current/*.yaml /etc/litellm-proxy/slots/*.env",
    )
    for command in commands:
        assert_no_secret(host.check_output(command))


def test_no_secret_in_processes_and_journal(host: Host, proxy: ContainerProxy) -> None:
    pid = str(proxy.main_pid())
    assert_no_secret(host.check_output("cat /proc/%s/environ /proc/%s/cmdline; ps axeww", pid, pid))
    assert_no_secret(host.check_output("journalctl --no-pager; cat /var/log/*.log 2>/dev/null || true"))


def test_credentials_are_a_file_of_the_service_in_a_directory_of_root(host: Host) -> None:
    place = "/etc/litellm-proxy/current/credentials"
    credentials = host.file(f"{place}/litellm-proxy.json")
    assert (credentials.user, credentials.mode) == ("litellm-proxy", 0o600)
    assert (host.file(place).user, host.file(place).mode) == ("root", 0o700)
    assert all(value in credentials.content_string for value in KEY_VALUES.values())


def test_no_file_that_others_can_read_has_a_secret(site: ContainerSite) -> None:
    search = "grep -rlIsF -f - /etc /root /run /srv /tmp /var; [ $? -le 2 ]"
    for user in ("nobody", "litellm-proxy"):
        # by standard input: the journal keeps command lines
        assert site.on_host(["runuser", "-u", user, "--", "sh", "-c", search], "\n".join(SECRETS) + "\n") == ""


def test_check_run_on_a_converged_host_changes_nothing() -> None:
    done = play("site.yml", {}, "--check", "--diff")
    assert done.returncode == 0, done.stdout
    assert re.findall(r"changed=(\d+)", done.stdout) == ["0"]
