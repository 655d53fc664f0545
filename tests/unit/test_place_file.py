"""How many share the keys, kept for a start while the shared store is away."""

from pathlib import Path

import pytest

from glm_pool.place_file import PlaceFile


def test_what_was_kept_is_there_at_the_next_start(tmp_path: Path) -> None:
    kept = PlaceFile(tmp_path / "place.json")
    kept.save(3, 1)
    kept.save(3, 2)
    assert PlaceFile(tmp_path / "place.json").load() == (3, 2)
    assert [file.name for file in tmp_path.iterdir()] == ["place.json"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"members": 2}', '{"members": 2, "rank": 2}', '{"members": 0, "rank": 0}']
)
def test_a_file_that_says_nothing_of_use_is_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "place.json").write_text(text)
    assert PlaceFile(tmp_path / "place.json").load() == (1, 0)


def test_nothing_is_written_where_nothing_has_changed(tmp_path: Path) -> None:
    kept = PlaceFile(tmp_path / "place.json")
    kept.save(3, 1)
    (tmp_path / "place.json").unlink()
    kept.save(3, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_nothing_is_said_and_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    PlaceFile(tmp_path / "gone" / "place.json").save(3, 1)
    assert "event=place_not_saved" in caplog.text
