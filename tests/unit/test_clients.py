"""The clients' file and who is found in it."""

import hashlib
import json
import logging
import math
import os
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from glm_pool import clients
from glm_pool.clients import Client, ClientsFile, Directory, parse

KEY = "sk-alice-0123456789abcdefghijklmnop"


def digest(key: str = KEY) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def content(*entries: dict[str, Any], **fields: Any) -> dict[str, Any]:
    listed = entries or ({"name": "alice", "sha256": digest()},)
    return {"clients": list(listed), "master_key_answers": False, "prices": {}, "usage_days": 400, **fields}


def names(directory: Directory) -> list[str]:
    return [client.name for client in directory.clients]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "clients.json"
    found.write_text(json.dumps(content()))
    return found


def replace(path: Path, text: str) -> None:
    """As Ansible does it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


# The file


def test_no_path_has_no_clients_and_the_master_key_answers() -> None:
    assert ClientsFile(None).read() == Directory() == Directory((), True, {}, 400)


def test_the_file_is_read_once_while_it_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Mock(side_effect=parse)
    monkeypatch.setattr(clients, "parse", read)
    file = ClientsFile(path)
    assert [names(file.read()) for _ in range(3)] == [["alice"]] * 3
    read.assert_called_once()


def test_a_change_holds_at_the_next_look(path: Path) -> None:
    file = ClientsFile(path)
    for listed in (["alice", "bob"], ["bob"], ["carol", "dave"]):
        replace(path, json.dumps(content(*({"name": name, "sha256": digest(name)} for name in listed))))
        assert names(file.read()) == listed


def test_a_change_in_place_of_the_same_size_and_time_holds(path: Path) -> None:
    file = ClientsFile(path)
    before = path.stat()
    assert names(file.read()) == ["alice"]
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        path.write_text(path.read_text().replace("alice", "alicf"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert names(file.read()) == ["alicf"]


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        "{}",
        b"\xff\xfe".decode("latin-1"),
        json.dumps({**content(), "clients": None}),
        json.dumps({**content(), "prices": None}),
        json.dumps({**content(), "prices": {"m": {"input": "dear"}}}),
        json.dumps({**content(), "usage_days": None}),
        json.dumps(content({"name": "bob"})),
        json.dumps(content({"sha256": digest()})),
        json.dumps(content({"name": "bob", "sha256": "Ä" * 64})),
        json.dumps(content({"name": "bob", "sha256": None})),
        json.dumps(content({"name": "bob", "sha256": digest(), "rpm": "many"})),
        json.dumps(content({"name": "bob", "sha256": digest(), "expires": "later"})),
        json.dumps({**content(), "clients": ["bob"]}),
    ],
)
def test_a_broken_file_changes_nothing_and_is_told_once(
    path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = ClientsFile(path)
    assert names(file.read()) == ["alice"]
    replace(path, broken)
    assert [names(file.read()) for _ in range(3)] == [["alice"]] * 3
    (told,) = complaints(caplog)
    assert f"event=clients_unreadable file={path}" in told
    assert digest() not in told
    replace(path, json.dumps(content({"name": "bob", "sha256": digest()})))
    assert names(file.read()) == ["bob"]


def test_a_file_that_could_not_be_opened_is_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As with too many open files: the file itself does not change when that is over."""
    file = ClientsFile(path)

    def refuse(self: Path) -> bytes:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert [names(file.read()) for _ in range(3)] == [[]] * 3
    assert len(complaints(caplog)) == 1
    assert names(file.read()) == ["alice"]


def test_a_directory_in_the_files_place_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert ClientsFile(tmp_path).read() == Directory()
    assert "error=IsADirectoryError" in complaints(caplog)[0]


def test_a_file_that_comes_late_and_goes(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = path.read_text()
    path.unlink()
    file = ClientsFile(path)
    assert file.read() == Directory()
    path.write_text(text)
    assert names(file.read()) == ["alice"]
    path.unlink()
    assert file.read() == Directory()
    assert complaints(caplog) == []


def test_all_fields_are_read() -> None:
    full = {
        "name": "alice",
        "sha256": digest(),
        "pools": ["flash", "glm-pool"],
        "rpm": 60,
        "max_parallel_requests": 4,
        "monthly_tokens": 5000,
        "monthly_budget": 20,
        "expires": 1_800_000_000,
        "state": "revoked",
    }
    directory = parse(content(full, {"name": "bob", "sha256": digest("bob")}, prices={"m": {"input": 1}}, usage_days=7))
    assert directory.clients[0] == Client(
        "alice", digest(), frozenset({"flash", "glm-pool"}), 60, 4, 5000, 20.0, 1_800_000_000.0, revoked=True
    )
    assert directory.clients[1] == Client("bob", digest("bob"))
    assert directory.clients[1].expires == math.inf
    assert (directory.prices, directory.usage_days, directory.master_key_answers) == ({"m": {"input": 1.0}}, 7, False)


# Who


@pytest.mark.parametrize("fields", [{}, {"revoked": True}, {"expires": 0.0}])
def test_every_client_is_found_by_its_key(fields: dict[str, Any]) -> None:
    alice = Client("alice", digest(), **fields)
    directory = Directory((Client("bob", digest("bob")), alice))
    assert directory.find(KEY) is alice
    assert directory.find(KEY + "x") is directory.find(KEY[:-1]) is directory.find("") is None
    assert directory.find(digest()) is None, "a hash opens nothing"


def test_keys_beyond_ascii_are_nobodys() -> None:
    assert Directory((Client("alice", digest()),)).find("sk-Schlüssel-\x80\u2028") is None


def test_every_client_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it takes must not tell which key is nearly right, nor where in the list it stands."""
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("glm_pool.clients.hmac.compare_digest", compare)
    listed = tuple(Client(str(n), digest(str(n))) for n in range(5))
    for key in ("0", "4", "nobody"):
        Directory(listed).find(key)
        assert compared == [(client.sha256, digest(key)) for client in listed]
        compared.clear()


def test_hashes_are_not_shown() -> None:
    assert digest() not in repr(Directory((Client("alice", digest()),)))


def test_what_a_client_may_and_has() -> None:
    assert Client("a").may_use("anything")
    assert Client("a", pools=frozenset({"flash"})).may_use("flash")
    assert not Client("a", pools=frozenset({"flash"})).may_use("glm-pool")
    assert not Client("a", pools=frozenset()).may_use("flash")
    budgets: list[dict[str, Any]] = [{}, {"monthly_tokens": 1}, {"monthly_budget": 0.5}, {"rpm": 1}]
    assert [Client("a", **fields).has_budget for fields in budgets] == [False, True, True, False]
    assert [Client(name).is_master for name in ("master", "alice")] == [True, False]
