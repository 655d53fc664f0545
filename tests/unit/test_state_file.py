"""The file that keeps the health of keys: whole, private, shared by processes."""

import json
import logging
import multiprocessing
import os
import time
from pathlib import Path

import pytest
from pool_parts import mode

from glm_pool.health import Record, State
from glm_pool.state_file import KEPT_SECONDS, StateFile

NOW = time.time()


def record(at: float = 0.0, state: State = State.PARKED, code: str = "1308") -> Record:
    return Record(state, NOW + 7200, code, 1, NOW + at)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "litellm-proxy" / "pool-state.json"


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [entry.getMessage().split(" file=")[0] for entry in caplog.records if entry.levelno >= logging.WARNING]


def test_records_survive_a_restart(path: Path) -> None:
    records = {"a@1": record(), "a@1/glm-5.3": record(1, State.COOLING, "1305"), "b@2": record(2, State.OUT, "1113")}
    StateFile(path).save(records)
    assert StateFile(path).load() == records


def test_file_that_is_not_there_has_no_records(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert StateFile(path).load() == {}
    assert messages(caplog) == []


def test_file_is_its_owners_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        StateFile(path).save({"a": record()})
    finally:
        os.umask(before)
    assert (mode(path.parent), mode(path)) == ("0700", "0600")


def test_directory_that_is_there_keeps_its_mode(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o750)
    StateFile(path).save({"a": record()})
    assert mode(path.parent) == "0750"


def test_nothing_is_left_beside_the_file_and_its_lock(path: Path) -> None:
    for n in range(3):
        StateFile(path).save({"a": record(n)})
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["pool-state.json", "pool-state.lock"]


def test_newer_of_two_records_is_kept(path: Path) -> None:
    StateFile(path).save({"a": record(5), "b": record(5), "c": record(5)})
    StateFile(path).save({"a": record(4, code="1310"), "b": record(6, code="1310"), "d": record()})
    assert {name: kept.code for name, kept in StateFile(path).load().items()} == {
        "a": "1308",
        "b": "1310",
        "c": "1308",
        "d": "1308",
    }


def test_records_of_keys_that_have_gone_are_dropped_in_the_end(path: Path) -> None:
    StateFile(path).save({"old": record(3600 - KEPT_SECONDS), "older": record(-3600 - KEPT_SECONDS)})
    assert set(StateFile(path).load()) == {"old"}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"keys": []}',
        '{"keys": null}',
        '{"keys": {"a": null}}',
        '{"keys": {"a": {}}}',
        '{"keys": {"a": {"state": "asleep", "until": 0, "code": "", "failures": 0, "at": 1}}}',
        '{"keys": {"a": {"state": "out", "until": Infinity, "code": "", "failures": Infinity, "at": 1}}}',
        "\x00" * 100,
    ],
)
def test_broken_file_is_told_of_and_written_anew(path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    path.write_text(content)
    assert StateFile(path).load() == {}
    assert messages(caplog) == ["event=state_unreadable"]
    StateFile(path).save({"a": record()})
    assert StateFile(path).load() == {"a": record()}


def test_text_of_another_encoding_is_a_broken_file(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe{")
    assert StateFile(path).load() == {}
    assert messages(caplog) == ["event=state_unreadable"]


def test_reader_never_sees_half_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    StateFile(path).save({"a": record()})
    seen = []

    def dump(document: object, file: object, indent: int) -> None:
        seen.append(StateFile(path).load())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("glm_pool.state_file.json.dump", dump)
    StateFile(path).save({"a": record(9), "b": record()})
    assert seen == [{"a": record()}]
    assert StateFile(path).load() == {"a": record()}
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["pool-state.json", "pool-state.lock"]


def test_directory_that_can_not_be_written_is_told_of_once(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.write_text("a file in the way")
    file = StateFile(path)
    file.save({"a": record()})
    file.save({"a": record(1)})
    assert messages(caplog) == ["event=state_not_saved"]
    assert f"file={path} error=" in caplog.text
    path.parent.unlink()
    file.save({"a": record(2)})
    assert StateFile(path).load() == {"a": record(2)}
    for entry in path.parent.iterdir():
        entry.unlink()
    path.parent.rmdir()
    path.parent.write_text("in the way again")
    file.save({"a": record(3)})
    assert messages(caplog) == ["event=state_not_saved"] * 2


def test_own_writing_is_no_news(path: Path) -> None:
    file = StateFile(path)
    assert not file.changed()
    file.save({"a": record()})
    assert not file.changed()
    file.load()
    assert not file.changed()


def test_writing_of_another_process_is_news_until_it_is_loaded(path: Path) -> None:
    one, other = StateFile(path), StateFile(path)
    one.load()
    other.save({"a": record()})
    assert one.changed()
    assert one.load() == {"a": record()}
    assert not one.changed()


def test_own_writing_does_not_hide_what_another_process_wrote(path: Path) -> None:
    one, other = StateFile(path), StateFile(path)
    one.load()
    other.save({"a": record()})
    one.save({"b": record()})
    assert one.changed()
    assert set(one.load()) == {"a", "b"}


def write_many(path: Path, writer: int, number: int) -> None:
    for n in range(number):
        StateFile(path).save({f"{writer}-{n}": record(), "common": record(n)})


def test_processes_lose_nothing_of_each_other(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(path, writer, 20)) for writer in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert set(StateFile(path).load()) == {"common", *(f"{w}-{n}" for w in range(2) for n in range(20))}
    assert json.loads(path.read_text())["keys"]["common"]["at"] == NOW + 19
