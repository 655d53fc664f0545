"""How many share the keys, kept for a start while the shared store is away."""

from pathlib import Path

import pytest

from glm_pool.place_file import PlaceFile


def test_what_was_kept_is_there_at_the_next_start(tmp_path: Path) -> None:
    kept = PlaceFile(tmp_path / "place.json")
    kept.save(3, [1])
    kept.save(3, [2])
    kept.release()
    assert PlaceFile(tmp_path / "place.json").load() == (3, 2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["place.json", "place.json.lock-0"]


def test_processes_of_one_host_have_places_of_their_own(tmp_path: Path) -> None:
    kept = PlaceFile(tmp_path / "place.json")
    kept.save(5, [2, 3])
    kept.release()
    first, second = PlaceFile(tmp_path / "place.json"), PlaceFile(tmp_path / "place.json")
    assert {first.load(), second.load()} == {(5, 2), (5, 3)}
    third = PlaceFile(tmp_path / "place.json")
    assert third.load() in {(5, 2), (5, 3)}
    first.release()
    assert PlaceFile(tmp_path / "place.json").load() == (5, 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"members": 2}',
        '{"members": 2, "ranks": [2]}',
        '{"members": 0, "ranks": [0]}',
        '{"members": 2, "ranks": []}',
        '{"members": 2, "ranks": 1}',
        '{"members": 2, "rank": 1}',
    ],
)
def test_a_file_that_says_nothing_of_use_is_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "place.json").write_text(text)
    assert PlaceFile(tmp_path / "place.json").load() == (1, 0)


def test_nothing_is_written_where_nothing_has_changed(tmp_path: Path) -> None:
    kept = PlaceFile(tmp_path / "place.json")
    kept.save(3, [1])
    (tmp_path / "place.json").unlink()
    kept.save(3, [1])
    assert not (tmp_path / "place.json").exists()


def test_a_disk_that_takes_nothing_is_said_and_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    PlaceFile(tmp_path / "gone" / "place.json").save(3, [1])
    assert "event=place_not_saved" in caplog.text
