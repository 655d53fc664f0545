"""litellm-proxyctl starts, stops and restarts: what it tells service manager and gateway, and how it ends."""

import fcntl
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from proxyctl_stage import GENERATION, Stage
from role_settings import KEY_A


@pytest.fixture(params=["systemd", "compose"])
def stage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Behind a gateway."""
    found = Stage(tmp_path, monkeypatch, request.param)
    with found.answering():
        yield found


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A user's own, without a gateway."""
    found = Stage(tmp_path, monkeypatch, "process")
    with found.answering():
        yield found


def test_start_starts_gateway_and_instance(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage.run("start") == 0
    assert stage.active("a")
    assert "systemctl start litellm-gateway.service" in stage.calls()
    assert capsys.readouterr().out.startswith(f"Started: generation {GENERATION} answers on http://127.0.0.1:")
    told = len(stage.calls("start", "compose", "up"))
    assert stage.run("start") == 0
    assert capsys.readouterr().out == "It runs already.\n"
    assert len(stage.calls("start", "compose", "up")) == told


def test_instance_that_dies_ends_the_start_with_its_log(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.mark("dies")
    stage.set("litellm-gateway.service")
    assert stage.run("start") == 1
    error = capsys.readouterr().err
    assert "The instance ended before it answered. Its log ends with:\nthe log, with [LITELLM_PROXY_KEY_A]" in error
    assert KEY_A not in error


def test_taken_port_is_told_with_its_owner(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.listeners[stage.port] = {
        "pid": 123, "name": "nginx", "user": "www-data", "ours": False, "gateway": False, "other_install": False,
    }  # fmt: skip
    assert stage.run("start") == 7
    assert (
        f"Port {stage.port} is taken by nginx (pid 123, user www-data): stop it, or set litellm_proxy_port to a free "
        "one and run site.yml." in capsys.readouterr().err
    )
    assert not stage.active("a")


def test_stop_stops_the_instance_before_the_gateway(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.serve()
    assert stage.run("stop") == 0
    stops = stage.calls("stop")
    assert stops[-1] == "systemctl stop litellm-gateway.service"
    assert not stage.active("a")
    assert "Stopped" in capsys.readouterr().out
    assert stage.run("stop") == 0
    assert capsys.readouterr().out == "It is stopped already.\n"
    assert stage.calls("stop") == stops


def test_restart_hands_over_to_the_other_slot(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.serve()
    stage.gateway.requests[:] = [2, 2, 0]
    assert stage.run("restart") == 0
    assert stage.gateway.told == ["b drain", "b ready", "a drain"]
    assert stage.slot() == "b"
    assert (stage.active("a"), stage.active("b")) == (False, True)
    place = (stage.config / "slots" / "b.env").read_text()
    assert f"LITELLM_PROXY_LISTEN_URL=http://127.0.0.1:{stage.ports['b']}\n" in place
    assert ("COMPOSE_PROJECT_NAME=litellm-proxy-b\n" in place) is (stage.mode == "compose")
    assert (stage.config / "slots" / "b").resolve().name == GENERATION
    out = capsys.readouterr().out
    assert "2 request(s) still run on slot a after 0 s." in out
    assert out.endswith(f"Restarted: slot b serves generation {GENERATION}.\n")


def test_requests_that_do_not_end_are_cut_and_told(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.serve()
    text = json.loads(stage.settings.read_text())
    stage.settings.write_text(json.dumps({**text, "drain_timeout": 0}))
    stage.gateway.requests[:] = [3]
    assert stage.run("restart") == 0
    assert stage.gateway.told[-1] == "a cut"
    assert "3 request(s) ran for longer than 0 s and were cut." in capsys.readouterr().out


def test_failed_restart_leaves_the_old_instance(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.serve()
    stage.mark("dies")
    assert stage.run("restart") == 1
    assert (stage.slot(), stage.active("a"), stage.active("b")) == ("a", True, False)
    assert stage.gateway.told == ["b drain", "b drain"]
    error = capsys.readouterr().err
    assert error.endswith("Slot b was stopped; slot a serves on.\n")
    assert KEY_A not in error


def test_instance_with_other_models_does_not_take_over(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.serve()
    stage.models = ["glm-pool"]
    assert stage.run("restart") == 1
    assert (stage.slot(), stage.active("b")) == ("a", False)
    assert "serves glm-pool instead of glm-5.3, glm-pool" in capsys.readouterr().err


def test_instance_that_the_gateway_takes_for_down_does_not_take_over(stage: Stage) -> None:
    stage.serve()
    stage.gateway.up_now = False
    assert stage.run("restart") == 1
    assert (stage.slot(), stage.active("a"), stage.active("b")) == ("a", True, False)


def test_what_an_interrupted_change_left_is_emptied_first(stage: Stage) -> None:
    stage.serve()
    stage.set("litellm-proxy@b.service" if stage.mode == "systemd" else "litellm-proxy-b")
    assert stage.run("restart") == 0
    assert stage.gateway.told == ["b drain", "b drain", "b ready", "a drain"]
    assert stage.slot() == "b"


def test_interrupted_restart_is_taken_back(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.serve()

    def interrupted(gateway: object) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return False

    # as a shell starts it, whatever a test before has set
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    monkeypatch.setattr(stage.gateway, "up", interrupted)
    try:
        assert stage.run("restart") == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (stage.slot(), stage.active("a"), stage.active("b")) == ("a", True, False)


def test_restart_of_what_is_stopped_starts_it(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage.run("restart") == 0
    assert (stage.slot(), stage.active("a")) == ("a", True)
    assert capsys.readouterr().out.startswith("It is not running; it is started.\nStarted:")


def test_two_at_a_time_are_kept_apart(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    held = os.open(stage.config, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert stage.run("start") == 1
    finally:
        os.close(held)
    assert "wait until it has ended" in capsys.readouterr().err
    assert stage.run("start") == 0


@pytest.mark.parametrize("command", ["start", "stop", "restart", "check"])
def test_who_is_not_root_is_told_to_use_sudo(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert stage.run(command) == 4
    assert "run it with sudo" in capsys.readouterr().err


def test_result_as_json(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage.run("--json", "start") == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    stage.mark("dies")
    assert stage.run("restart", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["exit_code"]) == (False, 1)
    assert "Slot b was stopped; slot a serves on." in document["message"]


def test_without_a_gateway_a_restart_interrupts_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Stage(tmp_path, monkeypatch, "systemd", "none")
    stage.ports = {"a": stage.port}
    stage.serve()
    with stage.answering():
        assert stage.run("restart") == 0
    assert "Without a gateway a restart interrupts" in capsys.readouterr().out
    assert stage.calls("stop", "restart") == [
        "systemctl stop litellm-proxy@a.service",
        "systemctl restart --no-block litellm-proxy@a.service",
    ]
    assert not any("gateway" in call for call in stage.calls())


def test_user_starts_stops_and_restarts_without_root(
    process: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    program = f"litellm-proxy@{GENERATION}"
    assert process.run("start") == 0
    assert "supervisor/start" in process.calls()
    assert f"supervisorctl start {program}" in process.calls()
    assert process.run("start") == 0
    assert process.run("restart") == 0
    assert process.run("stop") == 0
    assert process.calls("stop")[-1] == f"supervisorctl stop {program}"
    assert not process.active("")
    out = capsys.readouterr().out
    assert "It runs already.\nWithout a gateway" in out
    assert process.run("stop") == 0
    assert capsys.readouterr().out == "It is stopped already.\n"


def test_instance_of_a_user_that_dies(process: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    (process.directory / "litellm-proxy.log").write_text(f"first\nlast words, {KEY_A}\n")
    process.mark("dies")
    assert process.run("start") == 1
    assert "last words, [LITELLM_PROXY_KEY_A]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "words", "command"),
    [
        ("systemd", [], "journalctl --identifier litellm-proxy --lines 100 --no-pager"),
        ("systemd", ["-f", "-n", "5"], "journalctl --identifier litellm-proxy --lines 5 --no-pager --follow"),
        ("compose", ["-f"], 'sh -c exec docker logs "$@" 2>&1 logs -f --tail 100 litellm-proxy-a'),
        ("process", ["-f"], "tail -n 100 -F {directory}/litellm-proxy.log"),
    ],
)
def test_log_is_shown_by_the_program_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, words: list[str], command: str
) -> None:
    class Replaced(Exception):
        pass

    def execute(program: str, argv: list[str]) -> None:
        raise Replaced(" ".join(argv))

    stage = Stage(tmp_path, monkeypatch, mode)
    monkeypatch.setattr("os.execvp", execute)
    with pytest.raises(Replaced, match="^" + re.escape(command.format(directory=tmp_path)) + "$"):
        stage.run("logs", *words)


def test_log_needs_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, monkeypatch)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("os.getgroups", list)
    assert stage.run("logs") == 4
