"""`make demo` as a newcomer runs it: in a fresh clone, twice, with the port taken, and stopped again."""

import json
import os
import re
import shlex
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.ports import free_port

REPOSITORY = Path(__file__).resolve().parents[2]


class Checkout:
    """A clone of the repository with a tool chain that is already there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        files = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=REPOSITORY, capture_output=True, check=True,
        )  # fmt: skip
        subprocess.run(
            ["tar", "--create", "--null", "--files-from=-", "--file", str(path / "tree.tar")],
            cwd=REPOSITORY, input=files.stdout, check=True,
        )  # fmt: skip
        subprocess.run(["tar", "--extract", "--file", "tree.tar"], cwd=path, check=True)
        (path / ".venv").symlink_to(Path(sys.prefix))

    def make(self, target: str, **variables: object) -> subprocess.CompletedProcess[str]:
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "SSL_CERT_FILE") if name in os.environ}
        # what a developer's shell may hold and LiteLLM would read
        environment |= {"HOST": "0.0.0.0", "NUM_WORKERS": "3", "DETAILED_DEBUG": "true"}
        return subprocess.run(
            ["make", target, *(f"{name}={value}" for name, value in variables.items())],
            cwd=self.path, env=environment, capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip

    def client_env(self) -> dict[str, str]:
        names = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN")
        printed = subprocess.run(
            ["sh", "-c", f". ./.demo/client.env && echo {' '.join(f'${name}' for name in names)}"],
            cwd=self.path, env={}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return dict(zip(names, shlex.split(printed.stdout), strict=True))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    # a short path: the supervisor's socket has one of at most 107 characters
    clone = Checkout(tmp_path_factory.mktemp("d"))
    yield clone
    clone.make("demo-stop")


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def first_run(checkout: Checkout, port: int) -> subprocess.CompletedProcess[str]:
    done = checkout.make("demo", PORT=port)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_taken_port_is_named_with_who_has_it(checkout: Checkout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        done = checkout.make("demo", PORT=taken)
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())
    assert f"port {taken} is taken by" in said
    assert f"(pid {os.getpid()}" in said
    assert "make demo: PORT=4001" in said


def test_says_what_to_type_next(first_run: subprocess.CompletedProcess[str], port: int) -> None:
    assert f"http://127.0.0.1:{port}" in first_run.stdout
    for told in ("curl ", "claude", "ANTHROPIC_BASE_URL", "make demo-stop"):
        assert told in first_run.stdout


@pytest.mark.usefixtures("first_run")
def test_the_printed_curl_answers(checkout: Checkout, first_run: subprocess.CompletedProcess[str]) -> None:
    printed = re.search(r"  \. \.demo/client\.env\n  curl .*?\}'\n", first_run.stdout, re.DOTALL)
    assert printed is not None, first_run.stdout
    answer = subprocess.run(
        ["bash", "-c", printed[0]], cwd=checkout.path, capture_output=True, text=True, check=True
    ).stdout
    assert "simulated answer to: Hello!" in answer


@pytest.mark.usefixtures("first_run")
def test_client_env_is_private_and_complete(checkout: Checkout, port: int) -> None:
    file = checkout.path / ".demo" / "client.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    settings = checkout.client_env()
    assert settings["OPENAI_BASE_URL"] == f"http://127.0.0.1:{port}/v1"
    assert settings["ANTHROPIC_BASE_URL"] == f"http://127.0.0.1:{port}"
    assert settings["OPENAI_API_KEY"] == settings["ANTHROPIC_AUTH_TOKEN"]
    assert re.fullmatch(r"sk-[0-9a-f]{48}", settings["OPENAI_API_KEY"])


@pytest.mark.usefixtures("first_run")
def test_anthropic_clients_are_served(checkout: Checkout) -> None:
    settings = checkout.client_env()
    answer = requests.post(
        f"{settings['ANTHROPIC_BASE_URL']}/v1/messages",
        headers={"Authorization": f"Bearer {settings['ANTHROPIC_AUTH_TOKEN']}"},
        json={"model": "claude-opus-5-5", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]},
        timeout=60,
    )
    assert answer.json()["content"][-1]["text"] == "simulated answer to: hi"


@pytest.mark.usefixtures("first_run")
def test_listens_on_loopback_only(port: int) -> None:
    addresses = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
    for address in addresses:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            assert probe.connect_ex((address, port)) != 0


@pytest.mark.usefixtures("first_run")
def test_second_run_changes_nothing(checkout: Checkout) -> None:
    before = checkout.client_env()
    done = checkout.make("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^demo +: ok=\d+ +changed=0 ", done.stdout, re.MULTILINE), done.stdout
    assert checkout.client_env() == before


@pytest.mark.usefixtures("first_run")
def test_generation_that_dies_at_start_is_withdrawn(checkout: Checkout, port: int) -> None:
    """LiteLLM validates this config and ends at start: the key is the one in its own examples."""
    simulator_port = (checkout.path / ".demo/simulator-port").read_text().strip()
    settings = {
        "demo_port": port,
        "demo_simulator_port": int(simulator_port),
        "litellm_proxy_config_extra": {"general_settings": {"master_key": "sk-1234"}},
    }
    before = (checkout.path / ".demo/proxy/config/current").readlink()
    done = subprocess.run(
        [".venv/bin/ansible-playbook", "-i", "inventory/demo", "-e", json.dumps(settings), "site.yml"],
        cwd=checkout.path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout
    assert "serves again" in done.stdout
    assert "publicly known" in done.stdout
    assert (checkout.path / ".demo/proxy/config/current").readlink() == before
    client = checkout.client_env()
    models = requests.get(
        f"{client['OPENAI_BASE_URL']}/models",
        headers={"Authorization": f"Bearer {client['OPENAI_API_KEY']}"},
        timeout=60,
    )
    assert models.status_code == 200


@pytest.mark.usefixtures("first_run")
def test_no_secret_on_the_command_line_or_in_the_log(checkout: Checkout) -> None:
    secret = checkout.client_env()["OPENAI_API_KEY"]
    processes = subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
    assert "glm_pool.launch" in processes
    assert secret not in processes
    assert secret not in (checkout.path / ".demo/proxy/litellm-proxy.log").read_text()
    config = checkout.path / ".demo/proxy/config/current/config.yaml"
    assert secret not in config.read_text()
    assert stat.S_IMODE((config.parent / "credentials/litellm-proxy.json").stat().st_mode) == 0o600


@pytest.mark.usefixtures("first_run")
def test_its_own_command_tells_how_it_is(checkout: Checkout, port: int) -> None:
    command = [".demo/proxy/bin/litellm-proxyctl", "--settings", ".demo/proxy/proxyctl.json", "status", "--json"]
    shown = subprocess.run(command, cwd=checkout.path, capture_output=True, text=True, check=True).stdout
    service = json.loads(shown)["service"]
    assert (service["state"], service["port"]) == ("running", port)


@pytest.mark.usefixtures("first_run")
def test_stop_ends_all_of_it(checkout: Checkout, port: int) -> None:
    done = checkout.make("demo-stop")
    assert done.returncode == 0, done.stdout + done.stderr
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    processes = subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
    assert str(checkout.path) not in processes
    assert checkout.make("demo-stop").returncode == 0


def test_removal_leaves_nothing_of_the_role(checkout: Checkout, port: int) -> None:
    settings = {"demo_port": port, "demo_simulator_port": 1, "litellm_proxy_remove_confirmed": True}
    command = [".venv/bin/ansible-playbook", "-i", "inventory/demo", "-e", json.dumps(settings), "playbooks/remove.yml"]
    done = subprocess.run(command, cwd=checkout.path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    assert not (checkout.path / ".demo/proxy").exists()
    assert (checkout.path / ".demo/client.env").exists()


def test_stop_leaves_a_foreign_process_with_the_old_number_alone(checkout: Checkout) -> None:
    with subprocess.Popen(["sleep", "300"]) as foreign:
        (checkout.path / ".demo/simulator.pid").write_text(f"{foreign.pid}\n")
        supervisor = checkout.path / ".demo/proxy/supervisor"
        supervisor.mkdir(parents=True, exist_ok=True)
        (supervisor / "supervisord.pid").write_text(f"{foreign.pid}\n")
        assert checkout.make("demo-stop").returncode == 0
        assert foreign.poll() is None
        foreign.kill()
