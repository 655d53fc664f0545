"""The example inventory and group_vars, as someone meets them who runs a playbook right after cloning."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PARTS = ("ansible.cfg", "site.yml", "playbooks", "inventory", "group_vars", "roles")
VAULT = "group_vars/litellm_proxy/vault.yml"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, tmp_path / part, symlinks=True)
        else:
            shutil.copy(source, tmp_path / part)
    return tmp_path


def ansible(checkout: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return subprocess.run(
        command, cwd=checkout, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def encrypt(checkout: Path, password: str) -> None:
    (checkout / "password").write_text(password)
    ansible(checkout, "ansible-vault", "encrypt", "--vault-password-file", "password", VAULT)
    assert (checkout / VAULT).read_text().startswith("$ANSIBLE_VAULT;")


@pytest.mark.parametrize("playbook", ["site.yml", "playbooks/proxy.yml"])
def test_the_placeholders_are_refused_from_every_place(checkout: Path, playbook: str) -> None:
    done = ansible(checkout, "ansible-playbook", playbook)
    assert done.returncode == 2
    assert "3 fault(s) in the settings of llm-1.example.com" in done.stdout
    assert "litellm_proxy_master_key is a placeholder" in done.stdout
    assert "litellm_proxy_zai_keys[0] (team-a) has a placeholder as 'key'" in done.stdout


def test_a_key_that_the_vault_lacks_is_named(checkout: Path) -> None:
    vault = checkout / VAULT
    vault.write_text(vault.read_text().replace("  team-b: CHANGE-ME\n", ""))
    done = ansible(checkout, "ansible-playbook", "site.yml")
    assert done.returncode == 2
    assert "litellm_proxy_zai_keys[1] (team-b) has no 'key'" in done.stdout


def test_an_encrypted_vault_is_read(checkout: Path) -> None:
    encrypt(checkout, "right")
    done = ansible(checkout, "ansible-playbook", "site.yml", "--vault-password-file", "password")
    assert "litellm_proxy_master_key is a placeholder" in done.stdout


@pytest.mark.parametrize(
    ("password", "told"), [("wrong", "Decryption failed"), (None, "no vault secrets")], ids=["wrong", "none"]
)
def test_a_bad_vault_password_is_told(checkout: Path, password: str | None, told: str) -> None:
    encrypt(checkout, "right")
    options = []
    if password:
        (checkout / "password").write_text(password)
        options = ["--vault-password-file", "password"]
    done = ansible(checkout, "ansible-playbook", "site.yml", *options)
    assert done.returncode != 0
    assert told in done.stdout + done.stderr


def test_the_demo_does_not_read_the_teams_vault(checkout: Path) -> None:
    encrypt(checkout, "right")
    # a fault of its own ends the play before anything is deployed
    settings = "demo_port=4000 demo_simulator_port=4001 litellm_proxy_num_retries=-1"
    done = ansible(checkout, "ansible-playbook", "-i", "inventory/demo", "-e", settings, "site.yml")
    assert "1 fault(s) in the settings of demo" in done.stdout, done.stdout + done.stderr


def test_the_inventory_folder_means_the_teams_hosts(checkout: Path) -> None:
    done = ansible(checkout, "ansible-inventory", "-i", "inventory/", "--graph")
    assert "llm-1.example.com" in done.stdout
    assert "demo" not in done.stdout
