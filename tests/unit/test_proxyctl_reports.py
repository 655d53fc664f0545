"""litellm-proxyctl looks: status, keys and check, for people and as JSON, on the host and from elsewhere."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from litellm_proxy_status import status_table
from proxyctl_stage import GENERATION, KEY, Stage
from role_settings import KEY_A, MASTER_KEY, ROLE, ROOT

from tests.ports import free_port


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    found = Stage(tmp_path, monkeypatch)
    with found.answering():
        yield found


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was printed, one space between words."""
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_status_of_what_serves(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.serve()
    assert stage.run("status") == 0
    out = capsys.readouterr().out
    assert "service     running (systemd, slot a), since Sun 12:00\n" in out
    assert f"generation  {GENERATION}, LiteLLM 1.2.3\n" in out
    assert f"endpoint    http://127.0.0.1:{stage.port}, port {stage.port}\n" in out
    assert "gateway     running\n" in out
    assert stage.pool is not None
    assert out.endswith(f"\n\n{status_table(stage.pool)}\n")
    assert MASTER_KEY not in out


def test_status_as_json(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.serve()
    assert stage.run("status", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    assert document["service"]["generation"] == GENERATION
    assert document["pool"] == stage.pool


@pytest.mark.parametrize("stopped", ["litellm-proxy@a.service", "litellm-gateway.service"])
def test_status_of_what_is_down(stage: Stage, capsys: pytest.CaptureFixture[str], stopped: str) -> None:
    stage.serve()
    stage.set(stopped, "inactive")
    assert stage.run("status") == 3
    out = lines(capsys)
    assert out[0].startswith("service down (systemd, slot a)")
    assert out[-1] == "The service is down: litellm-proxyctl start"


def test_keys_alone(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.serve()
    assert stage.run("keys") == 0
    assert lines(capsys)[-1] == "team-a billing active 0/2 1/60 7 - - -"
    stage.set("litellm-proxy@a.service", "inactive")
    assert stage.run("keys") == 3


def test_own_strategy_of_litellm_has_no_states(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.serve()
    stage.pool = None
    assert stage.run("status") == 0
    assert "keys: the state of keys is unknown" in capsys.readouterr().out
    assert stage.run("keys") == 1
    assert stage.run("check") == 0


def test_check_finds_nothing(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.serve()
    assert stage.run("check") == 0
    assert lines(capsys) == [
        f"ok config generation {GENERATION} is valid (LiteLLM 1.2.3)",
        f"ok port port {stage.port} is held by haproxy (pid 1, user root)",
        f"ok service generation {GENERATION} answers in slot a",
        "ok gateway sends requests to slot a",
        f"ok upstream http://127.0.0.1:{stage.ports['b']}/upstream is reached",
        "ok key team-a is active, last answer 200 at 2026-11-22T12:00:00Z",
    ]


def test_check_as_json(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage.run("check", "--json") == 3
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["exit_code"]) == (False, 3)
    assert {"level": "fail", "what": "service", "text": "the gateway is stopped: litellm-proxyctl start"} in document[
        "findings"
    ]


def test_invalid_config_is_told_without_a_secret(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.mark("invalid")
    assert stage.run("check") == 6
    out = capsys.readouterr().out
    assert "FAIL  config" in out
    assert "config validation failed: [LITELLM_PROXY_KEY_A]" in out
    assert KEY_A not in out


def test_taken_port_is_a_fault(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.listeners[stage.port] = {
        "pid": 0, "name": "a process of another user", "user": "unknown", "ours": False, "gateway": False,
        "other_install": False,
    }  # fmt: skip
    assert stage.run("check") == 7
    assert f"port {stage.port} is taken by a process of another user: stop it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("state", "level", "code"), [("cooling", "warn", 0), ("out", "FAIL", 1), ("disabled", "ok", 0)]
)
def test_state_of_a_key(stage: Stage, capsys: pytest.CaptureFixture[str], state: str, level: str, code: int) -> None:
    stage.serve()
    assert stage.pool is not None
    stage.pool["keys"] = [{**KEY, "state": state, "reason": "1113", "last_code": "1113"}]
    assert stage.run("check") == code
    assert lines(capsys)[-1].startswith(f"{level} key team-a is {state} (1113), last answer 1113 at 2026-11-22")


@pytest.mark.parametrize(
    ("url", "told"), [("http://127.0.0.1:{free}", "is not reached"), ("http://no.invalid", "the name no.invalid is")]
)
def test_upstream_that_is_not_reached(stage: Stage, capsys: pytest.CaptureFixture[str], url: str, told: str) -> None:
    stage.serve()
    text = json.loads(stage.settings.read_text())
    stage.settings.write_text(json.dumps({**text, "upstreams": [url.format(free=free_port())]}))
    assert stage.run("check") == 1
    (line,) = [line for line in lines(capsys) if " upstream " in line]
    assert line.startswith("FAIL")
    assert told in line


def test_other_url_is_asked_for_the_keys(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.serve()
    assert stage.run("keys", "--url", f"http://127.0.0.1:{free_port()}") == 3
    assert "does not answer (Connection refused)" in capsys.readouterr().err


# From another machine --------------------------------------------------------------


@pytest.fixture
def elsewhere(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Nothing is installed there; the environment has the URL and the master key."""
    stage.serve()
    stage.settings.unlink()
    monkeypatch.setenv("LITELLM_PROXY_URL", f"http://127.0.0.1:{stage.ports['a']}/")
    monkeypatch.setenv("LITELLM_MASTER_KEY", MASTER_KEY)
    return stage


def test_status_from_elsewhere(elsewhere: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert elsewhere.run("status") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"service   answers\nendpoint  http://127.0.0.1:{elsewhere.ports['a']}\n\nround-robin")
    assert elsewhere.run("check") == 0
    assert elsewhere.run("keys", "--json") == 0
    elsewhere.set("litellm-proxy@a.service", "inactive")
    assert elsewhere.run("status") == 3


def test_wrong_or_missing_master_key(
    elsewhere: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LITELLM_MASTER_KEY", "sk-wrong")
    assert elsewhere.run("keys") == 4
    assert "refuses the master key" in capsys.readouterr().err
    monkeypatch.delenv("LITELLM_MASTER_KEY")
    assert elsewhere.run("keys") == 4
    assert "set LITELLM_MASTER_KEY" in capsys.readouterr().err


def test_only_looking_goes_elsewhere(elsewhere: Stage) -> None:
    assert elsewhere.run("stop") == 5


# As it is installed ----------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path) -> list[str]:
    """The command line that the role's wrapper makes."""
    package = tmp_path / "lib" / "proxyctl"
    package.mkdir(parents=True)
    for source in (
        *(ROLE / "files" / "proxyctl").glob("*.py"),
        *(ROLE / "module_utils").glob("*.py"),
        *(ROOT / "roles" / "litellm_gateway" / "module_utils").glob("*.py"),
        ROLE / "filter_plugins" / "litellm_proxy_mask.py",
        ROLE / "filter_plugins" / "litellm_proxy_status.py",
        ROLE / "filter_plugins" / "litellm_proxy_usage.py",
    ):
        (package / source.name).write_text(source.read_text())
    return [sys.executable, "-IB", str(package)]


def test_it_runs_from_its_directory_alone(stage: Stage, installed: list[str]) -> None:
    stage.serve()
    done = subprocess.run(
        [*installed, "--settings", str(stage.settings), "keys"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "team-a" in done.stdout


def test_help_lists_commands_and_exit_codes(installed: list[str]) -> None:
    done = subprocess.run([*installed, "--help"], capture_output=True, text=True, check=True)
    for word in ("restart", "LITELLM_PORT", "LITELLM_PROXY_URL", "7  the port is taken by another program"):
        assert word in done.stdout


def test_reader_that_has_seen_enough_is_no_fault(stage: Stage, installed: list[str]) -> None:
    stage.serve()
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*installed, "--settings", str(stage.settings), "keys"], stdout=writing, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
