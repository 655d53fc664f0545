"""A vault file that is changed as a whole, and left as it is where anything is wrong."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import client_vault
import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from client_vault import VaultFault, opened, write

SECRET = VaultSecret(b"right")
LIB = VaultLib([("default", SECRET)])


@pytest.fixture
def passwords(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, VaultSecret]]:
    """The vault passwords that Ansible was given."""
    given = [("default", SECRET)]
    context = SimpleNamespace(current=lambda optional: SimpleNamespace(secrets=given))
    monkeypatch.setattr(client_vault, "VaultSecretsContext", context)
    return given


def encrypted(path: Path, content: bytes = b"a: 1\n") -> Path:
    path.write_bytes(LIB.encrypt(content))
    return path


@pytest.mark.usefixtures("passwords")
def test_changes_at_the_same_time_follow_each_other(tmp_path: Path) -> None:
    path = encrypted(tmp_path / "vault.yml", b"---\n")

    def change(number: int) -> None:
        with opened(path, "vault.yml", None) as vault:
            write(vault, f"{vault.text}v{number}: 1\n")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(8)))
    assert sorted(LIB.decrypt(path.read_bytes()).split(b"\n"))[-8:] == [b"v%d: 1" % number for number in range(8)]


@pytest.mark.usefixtures("passwords")
def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    target = encrypted(tmp_path / "real.yml")
    link = tmp_path / "link.yml"
    link.symlink_to(target)
    with opened(link, "link.yml", None) as vault:
        write(vault, "a: 2\n")
    assert link.is_symlink()
    assert LIB.decrypt(target.read_bytes()) == b"a: 2\n"
    assert target.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256\n")


@pytest.mark.usefixtures("passwords")
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: CHANGE-ME\n", "vault.yml is not encrypted, and no key is written in the clear: encrypt it first with"),
        (VaultLib().encrypt(b"a: 1\n", VaultSecret(b"other")), "cannot be decrypted: the vault password is wrong"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n6162\n", "or the file is damaged"),
        (b"$ANSIBLE_VAULT\n", "or the file is damaged"),
        (LIB.encrypt(b"\xff\n"), "vault.yml is not UTF-8 text"),
    ],
    ids=["plain", "other password", "damaged", "no header", "not UTF-8"],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "vault.yml"
    path.write_bytes(content)
    with pytest.raises(VaultFault, match=told), opened(path, "vault.yml", None):
        pass
    assert path.read_bytes() == content


@pytest.mark.usefixtures("passwords")
@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("missing/vault.yml", "directory of vault_file X cannot be opened .No such file"),
        ("file/vault.yml", "directory of vault_file X cannot be opened .Not a directory"),
        (".", "X cannot be read .Is a directory"),
    ],
)
def test_a_path_that_leads_nowhere_is_told(tmp_path: Path, path: str, told: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(VaultFault, match=told), opened(tmp_path / path, "X", None):
        pass


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (True, "is encrypted, and no vault password was given: add --ask"),
        (False, "is not there, and no vault password"),
    ],
    ids=["encrypted", "missing"],
)
def test_no_password_is_told(tmp_path: Path, passwords: list[tuple[str, VaultSecret]], there: bool, told: str) -> None:
    passwords.clear()
    path = tmp_path / "vault.yml"
    if there:
        encrypted(path)
    with pytest.raises(VaultFault, match=told), opened(path, "vault.yml", None):
        pass
    assert path.exists() == there


def test_a_new_file_has_the_label_that_ansible_encrypts_with(
    tmp_path: Path, passwords: list[tuple[str, VaultSecret]]
) -> None:
    passwords.append(("team", VaultSecret(b"team's")))
    path = tmp_path / "vault.yml"
    with opened(path, "vault.yml", "team") as vault:
        write(vault, "a: 1\n")
    assert path.read_text().startswith("$ANSIBLE_VAULT;1.2;AES256;team\n")
    assert VaultLib([passwords[1]]).decrypt(path.read_bytes()) == b"a: 1\n"
    with pytest.raises(VaultFault, match="No vault password has the label x"), opened(tmp_path / "x", "x", "x"):
        pass


@pytest.mark.usefixtures("passwords")
def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encrypted(tmp_path / "vault.yml")
    monkeypatch.setattr("client_vault.os.access", lambda *arguments: False)
    with pytest.raises(VaultFault, match=r"directory of vault\.yml is not writable"), opened(path, "vault.yml", None):
        pass


@pytest.mark.usefixtures("passwords")
def test_a_failed_replacement_leaves_the_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encrypted(tmp_path / "vault.yml")
    before = path.read_bytes()

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(VaultFault, match=r"cannot be written .No space left"), opened(path, "vault.yml", None) as vault:
        write(vault, "a: 2\n")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["vault.yml"]
