"""The start of an instance: credentials from the file, a clear end when it cannot work."""

import gc
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pool_parts import mode
from role_settings import KEY_A, MASTER_KEY, ROLE

from glm_pool import launch
from tests import ports

CREDENTIALS = {"LITELLM_MASTER_KEY": MASTER_KEY, "ZAI_API_KEY_TEAM_A": KEY_A}


class FakeLiteLLM:
    """Stands for LiteLLM's command; records its calls with the environment at that time."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.environment: dict[str, str] = {}
        self.collects = False

    def main(self, **arguments: Any) -> None:
        self.environment = dict(os.environ)
        self.collects = gc.isenabled()
        self.calls.append(arguments)


@pytest.fixture(autouse=True)
def litellm(monkeypatch: pytest.MonkeyPatch) -> FakeLiteLLM:
    fake, module = FakeLiteLLM(), ModuleType("litellm.proxy.proxy_cli")
    vars(module)["run_server"] = fake
    monkeypatch.setitem(sys.modules, "litellm", ModuleType("litellm"))
    monkeypatch.setitem(sys.modules, "litellm.proxy", ModuleType("litellm.proxy"))
    monkeypatch.setitem(sys.modules, "litellm.proxy.proxy_server", ModuleType("litellm.proxy.proxy_server"))
    monkeypatch.setitem(sys.modules, "litellm.proxy.proxy_cli", module)
    return fake


@pytest.fixture(autouse=True)
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of credentials, where the service manager puts it."""
    path = tmp_path / "litellm-proxy.json"
    path.write_text(json.dumps(CREDENTIALS))
    monkeypatch.setattr(os, "environ", {**os.environ, "CREDENTIALS_DIRECTORY": str(tmp_path)})
    return path


@pytest.fixture
def free_port() -> int:
    return ports.free_port()


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def start(port: int, *options: str, host: str = "127.0.0.1") -> None:
    launch.main(["--config", "/etc/litellm-proxy/config.yaml", "--host", host, "--port", str(port), *options])


def refusal(port: int, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """Start, and return the exit status and the message."""
    with pytest.raises(SystemExit) as ended:
        start(port)
    return ended.value.code, capsys.readouterr().err


def test_first_process_of_a_container_ends_while_it_starts() -> None:
    code = (
        "import os, signal, sys; from glm_pool import launch; launch.end_at_sigterm(); "
        "os.kill(os.getpid(), signal.SIGTERM); print('still there')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROLE / "files")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (143, "")


def test_litellm_gets_address_and_port_and_the_credentials(litellm: FakeLiteLLM, free_port: int) -> None:
    start(free_port)
    options = ["--config", "/etc/litellm-proxy/config.yaml", "--host", "127.0.0.1", "--port", str(free_port)]
    assert litellm.calls == [{"args": [*options, "--num_workers", "1"], "prog_name": "litellm"}]
    assert {name: litellm.environment[name] for name in CREDENTIALS} == CREDENTIALS


def test_garbage_is_collected_while_it_serves(litellm: FakeLiteLLM, free_port: int) -> None:
    start(free_port)
    assert litellm.collects


@pytest.mark.usefixtures("litellm")
def test_credentials_do_not_appear_in_the_output(free_port: int, capfd: pytest.CaptureFixture[str]) -> None:
    start(free_port)
    assert capfd.readouterr() == ("", "")


def test_missing_directory_is_refused(
    litellm: FakeLiteLLM, free_port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    code, message = refusal(free_port, capsys)
    assert code == 78
    assert "CREDENTIALS_DIRECTORY is not set" in message
    assert litellm.calls == []


def test_missing_file_is_refused(
    litellm: FakeLiteLLM, credentials: Path, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    credentials.unlink()
    code, message = refusal(free_port, capsys)
    assert code == 78
    assert f"cannot read the credentials {credentials}: FileNotFoundError; run the playbook again" in message
    assert litellm.calls == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        json.dumps(CREDENTIALS)[:-1].encode(),
        json.dumps(list(CREDENTIALS.values())).encode(),
        json.dumps(MASTER_KEY).encode(),
        json.dumps({**CREDENTIALS, "NUMBER": 1}).encode(),
        json.dumps({"NESTED": CREDENTIALS}).encode(),
        json.dumps(CREDENTIALS).encode() + b"\xff",
    ],
    ids=["empty", "cut off", "a list", "a text", "a number in it", "nested", "not UTF-8"],
)
def test_unusable_file_is_refused_without_its_content(
    litellm: FakeLiteLLM, credentials: Path, free_port: int, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    credentials.write_bytes(content)
    code, message = refusal(free_port, capsys)
    assert code == 78
    assert str(credentials) in message
    assert "run the playbook again" in message
    assert [secret for secret in CREDENTIALS.values() if secret in message] == []
    assert litellm.calls == []


@pytest.mark.parametrize(
    ("variable", "value", "unit"), [("GLM_POOL_MAX_BODY", "50M", "bytes"), ("GLM_POOL_BODY_TIMEOUT", "1m", "seconds")]
)
def test_bound_on_bodies_that_is_no_number_is_refused(
    litellm: FakeLiteLLM, free_port: int, capsys: pytest.CaptureFixture[str], variable: str, value: str, unit: str
) -> None:
    os.environ[variable] = value
    code, message = refusal(free_port, capsys)
    assert code == 78
    assert f"{variable} is {value!r}; give a number of {unit}, 0 for no bound; run the playbook again" in message
    assert litellm.calls == []


def test_taken_port_is_refused(litellm: FakeLiteLLM, taken_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    code, message = refusal(taken_port, capsys)
    assert code == 69
    assert f"cannot listen on 127.0.0.1 port {taken_port}: Address already in use" in message
    assert litellm.calls == []


def test_port_that_another_address_holds_is_refused_for_every_address(
    litellm: FakeLiteLLM, taken_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        start(taken_port, host="0.0.0.0")
    assert ended.value.code == 69
    assert str(taken_port) in capsys.readouterr().err
    assert litellm.calls == []


def test_port_of_an_instance_that_has_just_ended_is_free(litellm: FakeLiteLLM) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address) as client, server.accept()[0] as accepted:
            accepted.close()  # this side ends the connection first, which leaves its port in TIME_WAIT
            assert client.recv(1) == b""
    start(address[1])
    assert len(litellm.calls) == 1


def test_arguments_are_demanded(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        launch.main(["--config", "config.yaml"])
    assert ended.value.code == 2
    assert "--host, --port" in capsys.readouterr().err


# Workers -------------------------------------------------------------------------


def test_one_worker_is_the_default_and_keeps_its_metrics_to_itself(
    litellm: FakeLiteLLM, free_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "metrics"))
    start(free_port)
    assert litellm.environment["GLM_POOL_WORKERS"] == "1"
    assert "PROMETHEUS_MULTIPROC_DIR" not in litellm.environment
    assert not (tmp_path / "metrics").exists()


def test_several_workers_know_how_many_they_are_and_are_given_time_to_start(
    litellm: FakeLiteLLM, free_port: int
) -> None:
    start(free_port, "--num-workers", "3")
    (call,) = litellm.calls
    assert call["args"][-4:] == ["--num_workers", "3", "--timeout_worker_healthcheck", "120"]
    assert litellm.environment["GLM_POOL_WORKERS"] == "3"
    assert "PROMETHEUS_MULTIPROC_DIR" not in litellm.environment


def test_several_workers_write_their_metrics_into_one_directory_that_is_empty_and_theirs(
    litellm: FakeLiteLLM, free_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "run" / "metrics"
    directory.mkdir(parents=True)
    (directory / "counter_17.db").write_text("of a worker before")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(directory))
    start(free_port, "--num-workers", "2")
    assert litellm.environment["PROMETHEUS_MULTIPROC_DIR"] == str(directory)
    assert list(directory.iterdir()) == []
    assert mode(directory) == "0700"


def test_directory_of_the_metrics_is_made_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "run" / "metrics"
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(directory))
    launch.prepare_workers(2)
    launch.prepare_workers(2)
    assert directory.is_dir()


def test_number_of_workers_is_a_number(free_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        start(free_port, "--num-workers", "many")
    assert ended.value.code == 2
    assert "--num-workers" in capsys.readouterr().err


def test_metrics_of_running_workers_survive_a_start_that_is_refused(
    taken_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "counter_17.db").write_text("of a worker that runs")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "metrics"))
    with pytest.raises(SystemExit):
        start(taken_port, "--num-workers", "2")
    assert (tmp_path / "metrics" / "counter_17.db").exists()
    capsys.readouterr()
