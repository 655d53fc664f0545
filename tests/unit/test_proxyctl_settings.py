"""Which instance litellm-proxyctl acts on."""

import json
from pathlib import Path

import pytest
from proxyctl_stage import Stage


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


def add(stage: Stage, port: int) -> Path:
    """Another instance, of the user."""
    registry = stage.directory / "home" / ".config" / "litellm-proxy"
    registry.mkdir(parents=True, exist_ok=True)
    home = stage.directory / str(port)
    home.mkdir()
    text = json.loads(stage.settings.read_text())
    settings = home / "proxyctl.json"
    settings.write_text(json.dumps({**text, "port": port, "mode": "process", "config_dir": str(home)}))
    (registry / f"{port}.json").symlink_to(settings)
    return settings


def test_only_one_needs_no_choice(stage: Stage) -> None:
    assert stage.run("status") == 3


def test_of_several_the_port_chooses(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = add(stage, 4010)
    assert stage.run("status") == 2
    error = capsys.readouterr().err
    assert "say which by LITELLM_PORT" in error
    assert f"  4010  process, {settings.parent}\n" in error
    assert f"  {stage.port}  systemd, {stage.config}" in error
    monkeypatch.setenv("LITELLM_PORT", str(stage.port))
    assert stage.run("status") == 3
    assert stage.run("--port", "4010", "status") == 5  # nothing was deployed there
    assert f"{settings.parent}/current is missing" in capsys.readouterr().err
    assert stage.run("status", "--settings", str(settings)) == 5


def test_link_that_leads_nowhere_does_not_count(stage: Stage) -> None:
    add(stage, 4010).unlink()
    assert stage.run("status") == 3


def test_port_that_no_instance_has(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage.run("status", "--port", "4999") == 5
    assert f"has port 4999; there is {stage.port}." in capsys.readouterr().err
    assert stage.run("status", "--port", "many") == 2


def test_nothing_is_installed(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.settings.unlink()
    assert stage.run("status") == 5
    assert "deploy one by site.yml" in capsys.readouterr().err


def test_settings_that_the_user_may_not_read(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = Path.read_text

    def refused(path: Path) -> str:
        if path == stage.settings:
            raise PermissionError
        return read(path)

    monkeypatch.setattr(Path, "read_text", refused)
    assert stage.run("status") == 4
    assert f"{stage.settings} cannot be read by this user: run it with sudo." in capsys.readouterr().err


def test_damaged_settings(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.settings.write_text("{")
    assert stage.run("status", "--settings", str(stage.settings)) == 5
    assert "is not what the role writes: run site.yml." in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["walk"], ["status", "--colour"]])
def test_wrong_usage(stage: Stage, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        stage.run(*words)
    assert ended.value.code == 2
