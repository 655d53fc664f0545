"""The example inventory and group_vars, as someone meets them who runs a playbook right after cloning."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

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
    assert "local" not in done.stdout
    assert "llm-2" not in done.stdout


# examples of several hosts --------------------------------------------------------

SECRETS = {
    "vault_litellm_proxy_master_key": "sk-5f2c81d09be74a36a1b2c3d4e5f60718",
    "vault_litellm_proxy_zai_keys": {
        "team-a": "8d2f4b6a0c1e3f5d7b9a8c6e4d2f1b3a.Qw3rTy7uIo9pAsDf",
        "team-b": "1b3d5f7a9c0e2d4f6b8a7c5e3d1f0b2c.Zx8cVb2nMq5wErTy",
    },
    "vault_litellm_datastore_password": "r3d1s-9f27c4b18e6a4d05",
    "litellm_datastore_password": "r3d1s-9f27c4b18e6a4d05",
    "vault_litellm_gateway_virtual_password": "n7Gq2xWd",
}
EXAMPLES = {
    ".": (0, 1, 0),
    "examples/three": (1, 2, 1),
    "examples/five": (2, 3, 3),
}
"""Hosts of the groups litellm_gateway, litellm_proxy and litellm_redis by inventory."""
ROLES = {"litellm_gateway": "litellm_gateway", "litellm_proxy": "litellm_proxy", "litellm_redis": "litellm_datastore"}


def validate(checkout: Path, inventory: str, *options: str) -> str:
    """What the validators say of an inventory's hosts; no host is contacted."""
    plays = [
        {
            "hosts": group,
            "gather_facts": False,
            "any_errors_fatal": True,
            "tasks": [{"ansible.builtin.include_role": {"name": role, "tasks_from": "validate.yml"}}],
        }
        for group, role in ROLES.items()
    ]
    (checkout / "validate.yml").write_text(yaml.safe_dump(plays))
    (checkout / "secrets.json").write_text(json.dumps(SECRETS))
    hosts = f"inventory/{inventory}/hosts.yml"
    done = ansible(checkout, "ansible-playbook", "-i", hosts, "-e", "@secrets.json", *options, "validate.yml")
    said = " ".join((done.stdout + done.stderr).split())
    return said if done.returncode else "fine"


@pytest.mark.parametrize(("inventory", "counts"), EXAMPLES.items())
def test_every_example_has_its_hosts_and_passes_the_validators(
    checkout: Path, inventory: str, counts: tuple[int, int, int]
) -> None:
    listed = ansible(checkout, "ansible-inventory", "-i", f"inventory/{inventory}/hosts.yml", "--list")
    groups = json.loads(listed.stdout)
    assert tuple(len(groups.get(group, {}).get("hosts", [])) for group in ROLES) == counts, listed.stderr
    assert validate(checkout, inventory) == "fine"


def test_every_example_has_the_same_settings_beside_it() -> None:
    for inventory in EXAMPLES:
        beside = REPOSITORY / "inventory" / inventory / "group_vars"
        assert beside.is_symlink() and beside.resolve() == REPOSITORY / "group_vars"


def test_a_gateway_gets_the_proxies_and_a_proxy_the_gateways(checkout: Path) -> None:
    gateway, proxy = shown(checkout, "gw-2.example.com"), shown(checkout, "llm-1.example.com")
    assert "llm-1.example.com at 10.0.0.21:4000, llm-2.example.com at 10.0.0.22:4000" in gateway
    assert "trusts none" in gateway
    assert "a at 127.0.0.1:4001, b at 127.0.0.1:4002" in proxy
    assert "trusts 10.0.0.11, 10.0.0.12" in proxy


def shown(checkout: Path, host: str) -> str:
    """Whom a host of the larger example sends requests to, and whose word it takes."""
    message = (
        "{% for one in litellm_gateway_servers %}{{ one.name }} at {{ one.address }}:{{ one.port }}, {% endfor %}"
        "trusts {{ litellm_gateway_trusted_gateways | join(', ') or 'none' }}"
    )
    none = {"name": "litellm_gateway", "tasks_from": "none.yml", "public": True}
    tasks = [{"ansible.builtin.include_role": none}, {"ansible.builtin.debug": {"msg": message}}]
    (checkout / "roles/litellm_gateway/tasks/none.yml").write_text("[]\n")
    (checkout / "secrets.json").write_text(json.dumps(SECRETS))
    (checkout / "shown.yml").write_text(yaml.safe_dump([{"hosts": host, "gather_facts": False, "tasks": tasks}]))
    options = ("-i", "inventory/examples/five/hosts.yml", "-e", "@secrets.json")
    return " ".join(ansible(checkout, "ansible-playbook", *options, "shown.yml").stdout.split())


def test_a_host_that_is_proxy_and_gateway_is_refused(checkout: Path) -> None:
    hosts = checkout / "inventory/examples/three/hosts.yml"
    hosts.write_text(hosts.read_text().replace("    llm-1.example.com:\n", "    gw-1.example.com:\n"))
    said = validate(checkout, "examples/three")
    assert "litellm_gateway and litellm_proxy both have this host in the inventory" in said


def test_two_hosts_that_become_one_name_are_refused(checkout: Path) -> None:
    hosts = checkout / "inventory/examples/three/hosts.yml"
    hosts.write_text(hosts.read_text().replace("    llm-2.example.com:\n", "    LLM-1.example.com:\n"))
    assert "have the same name (llm-1.example.com): rename one" in validate(checkout, "examples/three")


def test_a_gateway_without_proxies_is_refused(checkout: Path) -> None:
    hosts = checkout / "inventory/examples/three/hosts.yml"
    hosts.write_text(hosts.read_text().partition("litellm_proxy:")[0])
    assert "litellm_gateway_servers is empty" in validate(checkout, "examples/three")


def local_settings(checkout: Path, *options: str) -> dict[str, Any]:
    """What the role is given for this machine; the values are templates' results."""
    names = ("mode", "host", "port", "front", "python", "home")
    shown = "{{ {" + ", ".join(f"'{name}': litellm_proxy_{name}" for name in names) + "} }}"
    play = [
        {
            "hosts": "litellm_proxy",
            "gather_facts": False,
            "tasks": [
                {"ansible.builtin.setup": {"gather_subset": ["min"]}},
                {
                    "ansible.builtin.include_role": {"name": "litellm_proxy", "tasks_from": "none.yml", "public": True},
                },
                {"ansible.builtin.copy": {"content": shown, "dest": str(checkout / "shown.json"), "mode": "0600"}},
            ],
        }
    ]
    (checkout / "roles/litellm_proxy/tasks/none.yml").write_text("[]\n")
    (checkout / "show.yml").write_text(yaml.safe_dump(play))
    done = ansible(checkout, "ansible-playbook", "-i", "inventory/local", "show.yml", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((checkout / "shown.json").read_text())
    return found


def test_the_local_placeholders_are_refused(checkout: Path) -> None:
    done = ansible(checkout, "ansible-playbook", "-i", "inventory/local", "site.yml")
    assert done.returncode == 2
    assert "3 fault(s) in the settings of local" in done.stdout, done.stdout + done.stderr
    assert "litellm_proxy_master_key is a placeholder" in done.stdout
    assert "litellm_proxy_zai_keys[0] (key-1) has a placeholder as 'key'" in done.stdout


def test_the_local_proxy_is_the_users_own_and_for_this_machine(checkout: Path) -> None:
    home = str(Path.home() / ".local/share/litellm-proxy")
    assert local_settings(checkout) == {
        "mode": "process", "host": "127.0.0.1", "port": 4000, "front": "none", "python": sys.executable, "home": home,
    }  # fmt: skip


def test_another_local_port_is_another_instance(checkout: Path) -> None:
    home = str(Path.home() / ".local/share/litellm-proxy-4010")
    assert local_settings(checkout, "-e", "litellm_proxy_port=4010")["home"] == home


def test_the_local_proxy_can_be_a_systemd_service(checkout: Path) -> None:
    found = local_settings(checkout, "-e", "litellm_proxy_mode=systemd")
    assert (found["home"], found["front"], found["python"]) == ("/opt/litellm-proxy", "none", "/usr/bin/python3")


# workstations ---------------------------------------------------------------------

CLIENT = """
litellm_client:
  hosts:
    desk-1:
      ansible_connection: local
      ansible_python_interpreter: PYTHON
      litellm_client_become: false
      litellm_client_url: http://127.0.0.1:1
"""
CLIENT_KEYS = """
litellm_proxy_client_keys:
  - {name: other, key: sk-00000000000000000000other0key1}
  - {name: desk-1, key: sk-1b9f4c7e2d8a6053aa771b9f4c7e2d8a}
"""


def clients(checkout: Path, keys: str = "", *options: str) -> str:
    """What playbooks/clients.yml says for a workstation; nothing listens on the address of its endpoint."""
    hosts = checkout / "inventory/hosts.yml"
    hosts.write_text(hosts.read_text().partition("# Workstations")[0] + CLIENT.replace("PYTHON", sys.executable))
    settings = checkout / "group_vars/litellm_proxy/vars.yml"
    settings.write_text(settings.read_text() + keys)
    done = ansible(checkout, "ansible-playbook", "playbooks/clients.yml", "--check", *options)
    return " ".join((done.stdout + done.stderr).split())


def test_without_workstations_there_is_nothing_to_do(checkout: Path) -> None:
    done = ansible(checkout, "ansible-playbook", "playbooks/clients.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no hosts matched" in done.stdout


def test_a_workstation_without_a_key_of_its_name_is_refused(checkout: Path) -> None:
    assert "litellm_client_token is not set for this host" in clients(checkout, CLIENT_KEYS.replace("desk-1", "desk-2"))


def test_a_workstation_takes_the_key_of_its_name(checkout: Path) -> None:
    said = clients(checkout, CLIENT_KEYS, "--diff", "-vvv")
    assert "http://127.0.0.1:1 cannot be reached from this machine: nothing listens there" in said
    assert "litellm_client_verify" in said
    assert "1b9f4c7e2d8a6053" not in said
