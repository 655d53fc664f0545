"""The module that writes the files of a directory in one go."""

from pathlib import Path
from typing import Any

import litellm_proxy_directory as directory
import pytest


class Ended(Exception):
    """Ends the module in place of the process."""


def run(path: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch, check_mode: bool = False) -> dict[str, Any]:
    """What the module returns."""

    class Module:
        def __init__(self, **_: object) -> None:
            self.check_mode = check_mode
            self.tmpdir = str(path.parent)
            self.params = {"path": str(path), "files": files, "mode": "0640", "directory_mode": "0750"}

        def atomic_move(self, source: str, target: str) -> None:
            Path(source).replace(target)

        def load_file_common_arguments(self, given: dict[str, Any], path: str) -> tuple[str, int]:
            return path, int(given["mode"], 8)

        def set_fs_attributes_if_different(self, wanted: tuple[str, int], changed: bool) -> bool:
            path, mode = Path(wanted[0]), wanted[1]
            if path.stat().st_mode & 0o777 == mode:
                return changed
            if not self.check_mode:
                path.chmod(mode)
            return True

        def exit_json(self, **result: object) -> None:
            raise Ended(result)

    monkeypatch.setattr(directory, "AnsibleModule", Module)
    with pytest.raises(Ended) as ended:
        directory.main()
    found: dict[str, Any] = ended.value.args[0]
    return found


def content(path: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in path.iterdir()}


def test_directory_holds_exactly_these_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, files = tmp_path / "plugin", {"a.py": "one\n", "b.py": "zwei: ä\n"}
    assert run(path, files, monkeypatch)["written"] == ["a.py", "b.py"]
    assert content(path) == files
    assert path.stat().st_mode & 0o777 == 0o750
    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o640}
    assert run(path, files, monkeypatch) == {"changed": False, "written": [], "removed": []}

    (path / "a.py").write_text("by hand")
    (path / "foreign.py").write_text("")
    (path / "kept").mkdir()
    assert run(path, files, monkeypatch) == {"changed": True, "written": ["a.py"], "removed": ["foreign.py"]}
    assert (path / "a.py").read_text() == "one\n"
    assert sorted(file.name for file in path.iterdir()) == ["a.py", "b.py", "kept"]


def test_wrong_mode_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plugin"
    run(path, {"a.py": "one\n"}, monkeypatch)
    (path / "a.py").chmod(0o666)
    assert run(path, {"a.py": "one\n"}, monkeypatch)["changed"] is True
    assert (path / "a.py").stat().st_mode & 0o777 == 0o640


def test_check_mode_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plugin"
    assert run(path, {"a.py": "one\n"}, monkeypatch, check_mode=True)["changed"] is True
    assert not path.exists()
    run(path, {"a.py": "one\n"}, monkeypatch)
    assert run(path, {"a.py": "two\n"}, monkeypatch, check_mode=True)["written"] == ["a.py"]
    assert content(path) == {"a.py": "one\n"}
