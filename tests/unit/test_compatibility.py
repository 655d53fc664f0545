"""The page of what works with which client."""

import json
from pathlib import Path
from typing import Any

import compatibility
import pytest


def results(**changes: dict[str, str]) -> list[dict[str, Any]]:
    """Every cell works but those in `changes`, by feature, for Codex CLI."""
    cells = [
        {"client": client, "feature": name, "result": "works", "note": ""}
        for name in compatibility.FEATURES
        for client in compatibility.CLIENTS
    ]
    for cell in cells:
        if cell["client"] == "codex":
            cell.update(changes.get(cell["feature"], {}))
    return cells


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the pins alone."""
    programs = tmp_path / compatibility.PROGRAMS
    programs.mkdir(parents=True)
    for name in ("package.json", "requirements.in"):
        (programs / name).write_text((compatibility.ROOT / compatibility.PROGRAMS / name).read_text())
    (tmp_path / "docs").mkdir()
    return tmp_path


def run(project: Path, action: str, cells: list[dict[str, Any]]) -> int:
    file = project / "results.json"
    file.write_text(json.dumps(cells))
    return compatibility.main([action, str(file)], project)


def test_the_page_has_every_client_with_its_version_and_every_note_once(project: Path) -> None:
    note = {"result": "differs", "note": "it is slower"}
    assert run(project, "--write", results(text=note, stream=note)) == 0
    lines = (project / compatibility.PAGE).read_text().splitlines()
    (head,) = [line for line in lines if line.startswith("| |")]
    assert [title for title in compatibility.CLIENTS.values() if title not in head] == []
    assert "Codex CLI 0." in head
    assert [line for line in lines if "differs (1)" in line] == [
        line for line in lines if line.startswith(("| Question", "| Stream"))
    ]
    assert [line for line in lines if line.startswith("1. ")] == ["1. It is slower."]


def test_check_tells_a_page_that_says_something_else(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(project, "--write", results()) == 0
    assert run(project, "--check", results()) == 0
    assert run(project, "--check", results(text={"result": "fails", "note": "its test fails"})) == 1
    assert "--write" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda cells: cells[1:], "no result for"),
        (lambda cells: [*cells, cells[0]], "two results for"),
        (lambda cells: [*cells, {**cells[0], "client": "telnet"}], "cells that the page has not"),
    ],
)
def test_every_cell_has_one_result(project: Path, capsys: pytest.CaptureFixture[str], change: Any, said: str) -> None:
    assert run(project, "--write", change(results())) == 1
    assert said in capsys.readouterr().err
    assert not (project / compatibility.PAGE).exists()


def test_the_page_of_the_repository_has_no_failure() -> None:
    text = (compatibility.ROOT / compatibility.PAGE).read_text()
    assert "fails" not in text
    assert [title for title in compatibility.FEATURES.values() if f"| {title} |" not in text] == []
