"""Changes, faults and the commands of Docker Compose; the tests go from one state of the host to the next, in order."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from handover_support import LATER_VALUES, LEAST, ContainerSite, ended, keys, told, under_load
from host_support import (
    KEY_VALUES,
    MASTER_KEY,
    PORT,
    REPOSITORY,
    SECRETS,
    START_SECONDS,
    address_of,
    wait_until,
)

from zai_simulator.control_client import ControlClient

SECOND = {letter: LATER_VALUES[f"key-{letter}"][0] for letter in "abc"}
DIGESTS: dict[str, str] = json.loads((Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "digests.json").read_text())
REGISTRY = yaml.safe_load((REPOSITORY / "molecule" / "compose" / "vars" / "registry.yml").read_text())
PRIVATE = {
    "litellm_proxy_image": "registry.internal:5443/berriai/litellm",
    "litellm_proxy_registry_username": REGISTRY["registry_username"],
    "litellm_proxy_registry_password": REGISTRY["registry_password"],
}
CURRENT = "cd /etc/litellm-proxy/current && "


@pytest.fixture(autouse=True)
def upstream(simulator: ControlClient) -> ControlClient:
    simulator.reset()
    return simulator


def assert_done(done: "subprocess.CompletedProcess[str]") -> None:
    assert done.returncode == 0, told(done)
    assert [value for value in (*SECRETS, *SECOND.values(), PRIVATE["litellm_proxy_registry_password"])
            if value in told(done)] == []  # fmt: skip


def answers(site: ContainerSite) -> bool:
    """Whether a question is answered."""
    try:
        return site.proxy.chat().status_code == 200
    except requests.ConnectionError:
        return False


def test_rotating_all_keys_drops_nothing(site: ContainerSite) -> None:
    with under_load(site) as load:
        done = site.play("playbooks/rotate_keys.yml", litellm_proxy_zai_keys=keys(**SECOND))
        report = ended(load, "rotate all keys, containers", least=min(600, LEAST))
    assert_done(done)
    assert report.failures == []
    site.assert_one_serves()
    assert site.in_files(list(KEY_VALUES.values())) == []


def test_another_image_drops_nothing_and_rollback_neither(site: ContainerSite) -> None:
    before = site.proxy.inspect("{{.Config.Image}}")
    with under_load(site) as load:
        done = site.play(litellm_proxy_image_digest=DIGESTS["v1.108.11-2"])
        served = site.proxy.inspect("{{.Config.Image}}")
        back = site.play("playbooks/rollback.yml")
        report = ended(load, "another image and back, containers", least=min(600, LEAST))
    assert_done(done)
    assert_done(back)
    assert report.failures == []
    assert served.endswith(DIGESTS["v1.108.11-2"])
    assert "image: ghcr.io/berriai/litellm@" in told(done)
    assert site.proxy.inspect("{{.Config.Image}}") == before
    site.settings.pop("litellm_proxy_image_digest")
    site.assert_one_serves()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"litellm_proxy_config_extra": {"general_settings": {"master_key": "sk-1234"}}}, "publicly known"),
        ({"litellm_proxy_config_extra": {"router_settings": {"routing_strategy": "round-robin"}}}, "does not validate"),
        (
            {"litellm_proxy_image_digest": "sha256:" + "0123456789abcdef" * 4},
            "cannot pull ghcr.io/berriai/litellm@sha256",
        ),
        ({"litellm_proxy_version": "1.109.1"}, "has LiteLLM 1.108.11, and litellm_proxy_version is 1.109.1"),
        ({**PRIVATE, "litellm_proxy_registry_password": "wrong-Zt5-kWq9"}, "litellm_proxy_registry_password"),
        ({"litellm_proxy_image_digest": ""}, "litellm_proxy_image_digest is not set"),
    ],
    ids=["dies at start", "invalid config", "unknown digest", "other version", "wrong password", "no digest"],
)
def test_what_cannot_work_is_refused_and_the_old_one_serves(
    site: ContainerSite, change: dict[str, Any], says: str
) -> None:
    before = site.serving()
    done = site.play(**change)
    assert done.returncode == 2, told(done)
    assert says in told(done)
    assert "wrong-Zt5-kWq9" not in told(done)
    assert site.serving() == before
    assert answers(site)


def test_a_taken_port_is_refused(site: ContainerSite) -> None:
    site.host.check_output("systemd-run --unit squatter --uid nobody python3 -m http.server 4100 -d /usr/share")
    try:
        wait_until(lambda: site.host.socket("tcp://0.0.0.0:4100").is_listening)
        done = site.play(litellm_proxy_port=4100)
    finally:
        site.host.check_output("systemctl stop squatter")
    assert done.returncode == 2
    assert "port 4100 is taken by python3 (pid" in told(done)
    assert "changed=0" in told(done)
    assert answers(site)


@pytest.fixture
def cosign(site: ContainerSite) -> Iterator[Callable[[int], None]]:
    """Puts a program in the place of cosign that notes its arguments and ends with the status given."""

    def install(status: int) -> None:
        lines = ["#!/bin/sh", 'echo "$@" > /tmp/cosign.arguments']
        lines += ["echo no matching signatures >&2"] if status else []
        script = "\n".join([*lines, f"exit {status}", ""])
        site.on_host(["sh", "-c", "cat > /usr/local/bin/cosign && chmod 755 /usr/local/bin/cosign"], script)

    yield install
    site.host.check_output("rm -f /usr/local/bin/cosign")


def test_private_registry_and_signature(site: ContainerSite, cosign: Callable[[int], None]) -> None:
    before = site.serving()
    cosign(1)
    refused = site.play(**PRIVATE)
    assert refused.returncode == 2
    assert "cosign does not accept the signature of registry.internal:5443/berriai/litellm@sha256" in told(refused)
    assert "no matching signatures" in told(refused)
    assert site.serving() == before

    cosign(0)
    assert_done(site.play(**PRIVATE))
    asked = site.host.file("/tmp/cosign.arguments").content_string
    assert asked.startswith("verify --certificate-identity=https://github.com/BerriAI/")
    assert asked.strip().endswith(site.proxy.inspect("{{.Config.Image}}"))
    assert site.proxy.inspect("{{.Config.Image}}").startswith("registry.internal:5443/")
    assert site.in_files([PRIVATE["litellm_proxy_registry_password"]]) == []
    for name in PRIVATE:
        site.settings.pop(name)


def test_a_crash_heals_and_requests_wait_for_it(site: ContainerSite) -> None:
    before = site.pid(site.slot())
    site.host.check_output("kill -9 %s", str(before))
    wait_until(lambda: site.host.run("test -e /proc/%s", str(before)).rc != 0)
    assert answers(site)
    wait_until(lambda: site.pid(site.slot()) not in (0, before))


def test_power_loss_brings_back_the_one_that_current_names(site: ContainerSite) -> None:
    # as if the host went down between the start of the next container and the flip
    other, port = {"a": ("b", 4002), "b": ("a", 4001)}[site.slot()]
    site.host.check_output(
        f"{CURRENT} LITELLM_PROXY_SLOT={other} LITELLM_PROXY_LISTEN_PORT={port} "
        f"docker compose --project-name litellm-proxy-{other} up --detach --force-recreate"
    )
    assert len(site.host.check_output("docker ps --quiet").split()) == 2
    site.power_loss()
    wait_until(lambda: answers(site), 120)
    site.assert_one_serves()


def test_the_seeds_commands(site: ContainerSite) -> None:
    """Without the gateway: the plain single service on 4000:4000."""
    assert_done(site.play(litellm_proxy_front="none"))
    host = site.host
    assert answers(site)
    ports = json.loads(site.proxy.inspect("{{json .HostConfig.PortBindings}}"))
    assert ports == {"4000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "4000"}]}
    assert host.check_output(CURRENT + "docker compose ps --services") == "litellm"

    host.check_output(CURRENT + "docker compose down")
    assert host.check_output("docker ps --quiet --filter name=litellm-proxy") == ""
    assert not host.socket("tcp://0.0.0.0:4000").is_listening

    host.check_output(CURRENT + "docker compose up -d")
    wait_until(lambda: answers(site), START_SECONDS)
    assert "POST /v1/chat/completions" in host.check_output(CURRENT + "docker compose logs litellm 2>&1")

    # edit config.yaml, and restart
    place = "/etc/litellm-proxy/current"
    host.check_output("sed -i 's/model_name: glm-flash/model_name: glm-renamed/' %s/config.yaml", place)
    host.check_output(CURRENT + "docker compose restart --timeout 5")
    wait_until(lambda: answers(site), START_SECONDS)
    assert "glm-renamed" in site.proxy.call("/v1/models").text

    # edit the credentials, and restart: as the seed does with its .env
    other = MASTER_KEY[:-4] + "f00d"
    host.check_output("sed -i s/%s/%s/ %s/credentials/litellm-proxy.json", MASTER_KEY, other, place)
    host.check_output(CURRENT + "docker compose restart --timeout 5")
    wait_until(site.proxy.alive, START_SECONDS)
    assert site.proxy.call("/v1/models").status_code == 401
    assert site.proxy.call("/v1/models", headers={"Authorization": f"Bearer {other}"}).status_code == 200

    # the playbook puts right what was changed by hand
    assert_done(site.play())
    assert answers(site)
    assert "glm-renamed" not in site.proxy.call("/v1/models").text


def test_invalid_key_is_401_and_logged(site: ContainerSite, upstream: ControlClient) -> None:
    for name in upstream.stats()["keys"]:
        upstream.set_key(name, fault={"code": 1000})
    answer = site.proxy.chat()
    assert answer.status_code in (401, 503), answer.text
    assert re.search(r"event=out key=key-[abc].*1000", site.proxy.journal())
    upstream.reset()
    for name in KEY_VALUES:
        site.proxy.call(f"/pool/keys/{name}/enable", {})


def test_back_behind_the_gateway_and_settled(site: ContainerSite) -> None:
    assert_done(site.play(litellm_proxy_front="gateway", litellm_proxy_zai_keys=keys()))
    assert answers(site)
    site.assert_one_serves()
    assert site.proxy.inspect("{{.HostConfig.NetworkMode}}") == "host"
    listening = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-m", "2", f"http://{address_of(site.host)}:4001/"], check=False
    )
    assert listening.returncode != 0, f"only {PORT} is on the network"
    again = site.play()
    assert re.findall(r"changed=(\d+)", again.stdout) == ["0"], told(again)
