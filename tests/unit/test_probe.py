"""What the role learns of a host."""

import json
import os
import pwd
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import litellm_proxy_probe as probe
import pytest
import yaml
from ansible.module_utils import litellm_proxy_ports as ports

MARKER = " ".join(Path("/proc/self/cmdline").read_bytes().decode().split("\0")[:2])
"""How the command line of the tests' own process begins."""


LOOPBACKS = ["127.0.0.1"]
if Path("/proc/net/if_inet6").is_file() and re.search(r"(?m)^0{31}1 ", Path("/proc/net/if_inet6").read_text()):
    LOOPBACKS.append("::1")


@pytest.fixture(params=LOOPBACKS)
def server(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as listening:
        yield listening


def port_of(server: socket.socket) -> int:
    port: int = server.getsockname()[1]
    return port


def test_listener_is_named(server: socket.socket) -> None:
    assert ports.listener(port_of(server), "no such text in any command line") == {
        "pid": os.getpid(),
        "name": Path("/proc/self/comm").read_text().strip(),
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "ours": False,
        "gateway": False,
        "other_install": False,
    }


def test_listener_of_another_install_is_told_apart(server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "OTHER_INSTALL", MARKER)
    found = ports.listener(port_of(server), "-m glm_pool.launch --config /elsewhere/")
    assert (found["ours"], found["other_install"]) == (False, True)


def test_listener_with_the_marker_is_ours(server: socket.socket) -> None:
    assert ports.listener(port_of(server), MARKER)["ours"] is True


def test_of_processes_that_share_the_socket_the_one_of_the_role_counts(server: socket.socket) -> None:
    server.set_inheritable(True)
    worker = [sys.executable, "-c", "print('up', flush=True); input()"]
    with subprocess.Popen(worker, close_fds=False, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        of_the_parent = ports.listener(port_of(server), MARKER)
        of_the_worker = ports.listener(port_of(server), "print('up'")
        process.communicate(b"\n")
    assert (of_the_parent["pid"], of_the_parent["ours"]) == (os.getpid(), True)
    assert (of_the_worker["pid"], of_the_worker["ours"]) == (process.pid, True)


def test_free_port_has_no_listener(server: socket.socket) -> None:
    port = port_of(server)
    server.close()
    assert ports.listener(port, MARKER) == {}


def test_connections_are_no_listeners(server: socket.socket) -> None:
    with socket.create_connection(server.getsockname()[:2]) as client:
        assert ports.listener(client.getsockname()[1], MARKER) == {}


def test_hidden_listener_is_told_as_one_of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "listening_inodes", lambda port: {"0"})
    found = ports.listener(4000, MARKER)
    assert (found["pid"], found["ours"]) == (0, False)
    assert found["name"] == "a process of another user"


@pytest.fixture
def config_dir(tmp_path: Path) -> Path:
    """Two generations; slot b, which serves, has the newer one."""
    for name in ("0123456789ab", "ba9876543210"):
        (tmp_path / "generations" / name / "credentials").mkdir(parents=True)
    (tmp_path / "slots").mkdir()
    (tmp_path / "slots" / "b").symlink_to("../generations/ba9876543210")
    (tmp_path / "current").symlink_to("slots/b")
    (tmp_path / "previous").symlink_to("generations/0123456789ab")
    return tmp_path


def test_linked_generation_is_the_name_behind_all_links(config_dir: Path) -> None:
    assert probe.linked_generation(str(config_dir), "current") == "ba9876543210"
    assert probe.linked_generation(str(config_dir), "previous") == "0123456789ab"


def test_slot_is_the_one_that_current_points_to(config_dir: Path) -> None:
    assert probe.linked_slot(str(config_dir)) == "b"
    (config_dir / "current").unlink()
    assert probe.linked_slot(str(config_dir)) == ""
    (config_dir / "current").symlink_to("generations/ba9876543210")
    assert probe.linked_slot(str(config_dir)) == ""


def test_without_a_link_or_behind_a_broken_one_there_is_no_generation(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("generations/0123456789ab")
    assert probe.linked_generation(str(tmp_path), "current") == ""
    assert probe.linked_generation(str(tmp_path), "previous") == ""
    assert probe.linked_generation(str(tmp_path / "missing"), "current") == ""


def test_generations_are_described(config_dir: Path) -> None:
    whole = config_dir / "generations" / "ba9876543210"
    (whole / "manifest.json").write_text('{"version": "1.2.3"}')
    (whole / ".activated").touch()
    (whole / "credentials" / "litellm-proxy.json").write_text("{}")
    found = probe.generations(str(config_dir))
    assert found["ba9876543210"] == {
        "manifest": {"version": "1.2.3"},
        "activated": (whole / ".activated").stat().st_mtime,
        "sealed": False,
    }
    assert found["0123456789ab"] == {"manifest": {}, "activated": 0.0, "sealed": True}
    assert probe.generations(str(config_dir / "missing")) == {}


def test_slot_without_a_unit_is_empty(config_dir: Path) -> None:
    missing = str(config_dir / "litellm-proxy@b.service")
    assert probe.unit_facts(str(config_dir), "b", missing) == {
        "generation": "",
        "running": False,
        "definition": "",
        "listen": "",
    }


def docker_that_prints(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program `docker` first on the path."""
    program = directory / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def test_slot_of_a_container_is_what_docker_says(config_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = {
        "State": {"Running": False, "Restarting": True},
        "Config": {"Labels": {"litellm-proxy.generation": "ba9876543210"}},
        "HostConfig": {"PortBindings": {"4000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "4010"}]}},
    }
    docker_that_prints(config_dir, monkeypatch, f"echo '{json.dumps([described])}'")
    (config_dir / "slots" / "b.env").write_text("LITELLM_PROXY_LISTEN_HOST=0.0.0.0\nLITELLM_PROXY_LISTEN_PORT=4010\n")
    assert probe.container_facts(str(config_dir), "b", "litellm-proxy-b") == {
        "generation": "ba9876543210",
        "running": True,
        "definition": "ba9876543210",
        "listen": "0.0.0.0 4010",
        "published": [4010],
    }


def test_slot_without_a_container_is_empty(config_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_that_prints(config_dir, monkeypatch, "echo '[]'; echo 'No such container' >&2; exit 1")
    found = probe.container_facts(str(config_dir), "b", "litellm-proxy-b")
    assert (found["running"], found["definition"], found["published"]) == (False, "", [])


@pytest.mark.parametrize(
    ("script", "facts"),
    [
        ("exit 0", {"installed": True, "compose": False, "error": ""}),
        ("echo 28.1", {"installed": True, "compose": True, "error": ""}),
    ],
    ids=["without the plugin", "complete"],
)
def test_docker_tells_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, facts: dict[str, object]
) -> None:
    docker_that_prints(tmp_path, monkeypatch, script)
    assert probe.docker_facts() == facts


def test_docker_that_does_not_answer_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_that_prints(tmp_path, monkeypatch, "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    assert probe.docker_facts()["error"] == "Cannot connect to the Docker daemon"


def test_host_without_docker_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert probe.docker_facts() == {"installed": False, "compose": False, "error": ""}


def test_interpreter_tells_its_version() -> None:
    assert probe.python_facts(sys.executable) == (f"{sys.version_info.major}.{sys.version_info.minor}", True)


def test_missing_interpreter_has_no_version(tmp_path: Path) -> None:
    assert probe.python_facts(str(tmp_path / "python3")) == ("", False)


@pytest.mark.parametrize(
    ("script", "facts"),
    [("echo 3.12; exit 1", ("3.12", False)), ("exit 127", ("", False))],
    ids=["without the venv module", "that does not run"],
)
def test_incomplete_interpreter(tmp_path: Path, script: str, facts: tuple[str, bool]) -> None:
    python = tmp_path / "python3"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    assert probe.python_facts(str(python)) == facts


def test_memory_is_in_mebibytes() -> None:
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    assert probe.memory_mb() == int(total.split()[1]) // 1024


class Exited(Exception):
    """Ends the module in place of the process."""


def test_module_reports_what_it_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: socket.socket
) -> None:
    class Module:
        def __init__(self, **_: object) -> None:
            self.params = {
                "python": sys.executable,
                "ports": [port_of(server)],
                "units": {},
                "containers": {},
                "instance_marker": MARKER,
                "ca_bundle": str(tmp_path / "missing.pem"),
                "config_dir": str(tmp_path),
            }

        def exit_json(self, **result: object) -> None:
            raise Exited(result)

    monkeypatch.setattr(probe, "AnsibleModule", Module)
    with pytest.raises(Exited) as ended:
        probe.main()
    result = ended.value.args[0]
    assert set(result) - {"changed"} == set(yaml.safe_load(probe.RETURN))
    assert result["changed"] is False
    assert result["ca_bundle"] is False
    assert result["current"] == ""
    assert result["root"] is (os.geteuid() == 0)
    assert result["slots"] == result["generations"] == {}
    assert result["listeners"][str(port_of(server))]["ours"] is True
