"""README's tables of variables."""

from pathlib import Path

import pytest
import variables_table
from role_settings import OPTIONS, ROLE
from variables_table import BEGIN, END

BEFORE, AFTER = "# Title\n\n", "\n\nThe end.\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the specifications and a README that has the markers and nothing between them."""
    for role in variables_table.ROLES:
        specification = tmp_path / variables_table.specification(role)
        specification.parent.mkdir(parents=True)
        specification.write_text((ROLE.parent / role / "meta" / "argument_specs.yml").read_text())
    (tmp_path / "README.md").write_text(f"{BEFORE}{BEGIN}\n{END}{AFTER}")
    return tmp_path


def test_every_variable_and_field_has_a_row() -> None:
    rows = variables_table.tables(OPTIONS, ROLE.name).splitlines()
    names = [*OPTIONS]
    for variable in ("litellm_proxy_zai_keys", "litellm_proxy_pools"):
        names += [f"{variable}[].{field}" for field in OPTIONS[variable]["options"]]
    for name in names:
        assert sum(row.startswith(f"| `{name}` | ") for row in rows) == 1, name


def test_text_cannot_break_the_table() -> None:
    text = variables_table.tables({"a": {"default": "x|y", "description": "one | two\nthree."}}, "role")
    assert text.splitlines()[-1] == r"| `a` | `x\|y` | one \| two three. |"


def test_the_fields_of_a_list_and_of_a_mapping_are_told_apart() -> None:
    field = {"x": {"description": "One."}}
    options = {name: {"type": name, "description": "A.", "options": field} for name in ("list", "dict")}
    text = variables_table.tables(options, "role")
    assert "| `list[].x` |" in text and "| `dict.x` |" in text


def test_write_keeps_what_is_around_the_tables_and_check_agrees_then(project: Path) -> None:
    assert variables_table.main(["--check"], root=project) == 1
    assert variables_table.main(["--write"], root=project) == 0
    text = (project / "README.md").read_text()
    assert text.startswith(f"{BEFORE}{BEGIN}\n\nOf the role `litellm_proxy`, the proxy:\n\n| Variable")
    assert "Of the role `litellm_gateway`" in text
    assert text.endswith(f"|\n\n{END}{AFTER}")
    assert variables_table.main(["--check"], root=project) == 0
    assert variables_table.main(["--write"], root=project) == 0
    assert (project / "README.md").read_text() == text


def test_check_says_what_to_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (project / "README.md").read_text()
    assert variables_table.main(["--check"], root=project) == 1
    assert "scripts/variables_table.py --write" in capsys.readouterr().err
    assert (project / "README.md").read_text() == before


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}{END}{BEGIN}", f"{BEGIN}{END}{END}"])
def test_readme_without_proper_markers_is_left_alone(
    project: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (project / "README.md").write_text(text)
    assert variables_table.main(["--write"], root=project) == 1
    assert BEGIN in capsys.readouterr().err
    assert (project / "README.md").read_text() == text
