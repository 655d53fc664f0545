"""The workstation is set up by playbooks/clients.yml: the programs find proxy and token without being told."""

from collections.abc import Iterator

import pytest
from clients_support import CLIENT_KEYS
from host_support import play
from workstation_support import CA, Workstation

HELLO = "simulated answer to: hello"
SETTINGS = {
    "litellm_client_url": Workstation("https").url,
    "litellm_client_token": CLIENT_KEYS["others"],
    "litellm_client_ca_bundle": CA,
    "litellm_client_users": ["dev"],
    # what Python's SDKs know it by
    "litellm_client_environment": {"SSL_CERT_FILE": CA},
    "litellm_client_models": {"opus": "glm-5.3", "sonnet": "glm-5.3", "haiku": "glm-flash"},
}


@pytest.fixture(scope="module")
def managed() -> Iterator[Workstation]:
    done = play("playbooks/clients.yml", SETTINGS)
    assert done.returncode == 0, done.stdout
    assert CLIENT_KEYS["others"] not in done.stdout + done.stderr
    yield Workstation("https", bare=True)
    gone = play("playbooks/clients.yml", {**SETTINGS, "litellm_client_state": "absent"})
    assert gone.returncode == 0, gone.stdout


@pytest.mark.parametrize("model", ["sonnet", "opus", "haiku"])
def test_claude_code_by_the_managed_settings(managed: Workstation, model: str) -> None:
    done = managed.claude("hello", "--model", model)
    assert done.stdout.strip() == HELLO, done.stdout + done.stderr


def test_codex_by_its_settings(managed: Workstation) -> None:
    done = managed.codex("hello", model="glm-5.3")
    assert HELLO in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("client", ["openai-python", "openai-typescript", "anthropic-python"])
def test_sdk_by_the_profile(managed: Workstation, client: str) -> None:
    assert managed.features(client, ["text"])["text"][0] == HELLO
