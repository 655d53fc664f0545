"""playbooks/new_client.yml and revoke_client.yml, as someone runs them in a checkout with an encrypted vault."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from role_settings import MASTER_KEY, ROOT

PARTS = ("ansible.cfg", "playbooks", "inventory", "group_vars")
VAULT = "group_vars/litellm_proxy/vault.yml"
PASSWORD = "correct horse"
RIGHT, WRONG = "password", "wrong"
"""Files with a password."""
KEY = re.compile(r"sk-[A-Za-z0-9_-]{32,}")
TEXT = f"""\
---
# the team's secrets
vault_litellm_proxy_master_key: {MASTER_KEY}
vault_litellm_proxy_client_keys:  # who is let in
  - name: bob
    key_sha256: {"5e" * 32}  # he made it himself
# of two accounts
vault_litellm_proxy_zai_keys: {{team-b: "x",   team-a: 'y'}}
"""


class Checkout:
    """A copy of what the playbooks need, and what they print with the vault's keys masked."""

    def __init__(self, root: Path) -> None:
        self.root, self.vault, self.lib = root, root / VAULT, VaultLib([("team", VaultSecret(PASSWORD.encode()))])
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, root / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, root / part)
        (root / RIGHT).write_text(PASSWORD)
        (root / WRONG).write_text("another")
        self.store(TEXT)

    def store(self, text: str) -> None:
        self.vault.write_bytes(self.lib.encrypt(text, vault_id="team"))
        self.vault.chmod(0o640)

    def text(self, vault: Path | None = None) -> str:
        return bytes(self.lib.decrypt((vault or self.vault).read_bytes())).decode()

    def clients(self, vault: Path | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = yaml.safe_load(self.text(vault))["vault_litellm_proxy_client_keys"]
        return found

    def start(self, playbook: str, *options: str, password: str | None = RIGHT) -> "subprocess.Popen[str]":
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        return subprocess.Popen(
            [
                "ansible-playbook", f"playbooks/{playbook}.yml", *options,
                *(["--vault-id", f"team@{password}"] if password else []),
            ],
            cwd=self.root, env=environment | {"ANSIBLE_LOG_PATH": "ansible.log"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, playbook: str, *options: str, password: str | None = RIGHT) -> tuple[int, str]:
        """Exit code, and the output with KEY in the place of every key; `keys_shown` is how many there were."""
        done = self.start(playbook, *options, password=password)
        output, _ = done.communicate()
        self.keys_shown = len(KEY.findall(output))
        return done.returncode, KEY.sub("KEY", output)

    def log(self) -> str:
        return (self.root / "ansible.log").read_text()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def joined(output: str) -> str:
    return " ".join(output.split())


def test_a_new_client_is_added_to_the_vault_and_its_key_is_shown_once(checkout: Checkout) -> None:
    limits = ["-e", "rpm=60 monthly_budget=20 expires=2999-01-31 pools=glm-pool"]
    code, output = checkout.run("new_client", "-e", "name=alice", *limits, "-vvv", "--diff")
    assert code == 0, output
    client = checkout.clients()[1]
    key = client.pop("key")
    assert KEY.fullmatch(key) is not None
    assert client == {
        "name": "alice", "pools": ["glm-pool"], "rpm": 60, "monthly_budget": 20.0, "expires": "2999-01-31",
    }  # fmt: skip
    assert checkout.keys_shown == 1
    assert not KEY.search(checkout.log())
    assert MASTER_KEY not in output
    before, after = TEXT.splitlines(), checkout.text().splitlines()
    assert next(line for line in after if line not in before) == "  - name: alice"
    assert [line for line in after if line in before] == before
    assert checkout.vault.read_text().startswith("$ANSIBLE_VAULT;1.2;AES256;team\n")
    assert checkout.vault.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in checkout.vault.parent.iterdir()) == ["vars.yml", "vault.yml"]
    assert 'export ANTHROPIC_BASE_URL="http://llm-1.example.com:4000"\n' in output
    assert "once you run: ansible-playbook playbooks/client_keys.yml" in joined(output)


def test_check_mode_makes_no_key(checkout: Checkout) -> None:
    before = checkout.vault.read_bytes()
    code, output = checkout.run("new_client", "-e", "name=alice", "--check", "--diff")
    assert code == 0, output
    assert f"Client alice would be added to {VAULT}" in joined(output)
    assert checkout.keys_shown == 0
    assert checkout.vault.read_bytes() == before


def test_a_vault_that_is_not_there_is_made_for_its_owner_alone(checkout: Checkout) -> None:
    new = checkout.root / "group_vars/clients.yml"
    code, output = checkout.run(
        "new_client", "-e", "name=alice vault_file=group_vars/clients.yml url=https://llm.example.com/glm"
    )
    assert code == 0, output
    assert [client["name"] for client in checkout.clients(new)] == ["alice"]
    assert new.stat().st_mode & 0o777 == 0o600
    assert 'export OPENAI_BASE_URL="https://llm.example.com/glm/v1"\n' in output


def test_two_runs_at_the_same_time_lose_nobody(checkout: Checkout) -> None:
    names = ["alice", "carol"]
    runs = [checkout.start("new_client", "-e", f"name={name}") for name in names]
    assert [run.communicate() and run.returncode for run in runs] == [0, 0]
    assert sorted(client["name"] for client in checkout.clients()) == ["alice", "bob", "carol"]


def test_a_client_is_revoked_once(checkout: Checkout) -> None:
    code, output = checkout.run("revoke_client", "-e", "name=bob")
    assert code == 0, output
    assert checkout.clients()[0]["state"] == "revoked"
    assert "    state: revoked\n# of two accounts\n" in checkout.text()
    assert "It is shut out once you run: ansible-playbook playbooks/client_keys.yml" in joined(output)
    before = checkout.vault.read_bytes()
    code, output = checkout.run("revoke_client", "-e", "name=bob")
    assert code == 0, output
    assert "changed=0" in output
    assert checkout.vault.read_bytes() == before


@pytest.mark.parametrize(
    ("playbook", "options", "password", "told"),
    [
        ("new_client", "", RIGHT, "Which client? Give a name: -e name=alice."),
        ("new_client", "name=bob", RIGHT, "has a client bob already; nothing was changed. For a new key without"),
        ("new_client", "name=alice rpm=0 monthly_budget=x", RIGHT, "rpm is '0': use a whole number of 1 or more"),
        ("new_client", "name=alice", WRONG, f"{VAULT} cannot be decrypted: the vault password is wrong"),
        ("new_client", "name=alice", None, f"{VAULT} is encrypted, and no vault password was given: add --ask-vault"),
        ("revoke_client", "name=alice", RIGHT, f"{VAULT} has no client alice: it has bob."),
    ],
    ids=["no name", "there already", "bad limits", "wrong password", "no password", "nobody to revoke"],
)
def test_what_cannot_be_done_is_told_and_leaves_the_vault_as_it_is(
    checkout: Checkout, playbook: str, options: str, password: str | None, told: str
) -> None:
    before = checkout.vault.read_bytes()
    code, output = checkout.run(playbook, *(["-e", options] if options else []), password=password)
    assert code == 2
    assert told in joined(output)
    assert checkout.keys_shown == 0
    assert checkout.vault.read_bytes() == before
