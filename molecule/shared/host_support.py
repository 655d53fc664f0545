"""What the tests of all scenarios share: the proxy on a test host, and the simulated Z.AI behind it."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import requests
import testinfra
import yaml
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

from zai_simulator.control_client import ControlClient

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "group_vars" / "litellm_proxy.yml").read_text())
MASTER_KEY: str = SETTINGS["litellm_proxy_master_key"]
KEY_VALUES: dict[str, str] = {key["name"]: key["key"] for key in SETTINGS["litellm_proxy_zai_keys"]}
SECRETS: tuple[str, ...] = (MASTER_KEY, *KEY_VALUES.values())
SERVED_MODELS = ["claude-opus-5-5", "glm-5.3", "glm-flash", "glm-pool"]
PORT = 4000
SIMULATOR_PORT = 8080

T = TypeVar("T")


START_SECONDS = 180
"""Within which LiteLLM has to answer after a start, on a busy machine too."""


def wait_until(look: Callable[[], T], seconds: float = 60) -> T:
    """Poll until `look` returns something true and return it; fail with its last value after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s; last seen: {seen!r}"
        time.sleep(0.2)
    return seen


def address_of(host: Host) -> str:
    """IPv4 address of a test host on the scenario's own network; it may have others, of its own containers."""
    words = host.check_output("ip -4 -oneline route get 192.0.2.1").split()
    return str(words[words.index("src") + 1])


def hosts_of(group: str) -> list[str]:
    """The scenario's hosts of an inventory group; spoken to through Docker, five times faster than through Ansible."""
    return [f"docker://{name}" for name in AnsibleRunner(os.environ["MOLECULE_INVENTORY_FILE"]).get_hosts(group)]


def simulator_host() -> Host:
    """The test host that runs the simulated Z.AI."""
    (name,) = hosts_of("zai_simulator")
    return testinfra.get_host(name)


def simulator_control() -> ControlClient:
    """Client of the simulator's control and statistics API."""
    return ControlClient(f"http://{address_of(simulator_host())}:{SIMULATOR_PORT}")


class Proxy:
    """The LiteLLM proxy on one test host, as its clients and its administrator see it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.url = f"http://{address_of(host)}:{PORT}"

    def call(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
    ) -> requests.Response:
        """GET, or POST when there is a body, with the master key unless `headers` are given."""
        return requests.request(
            "GET" if body is None else "POST",
            self.url + path,
            json=body,
            headers={"Authorization": f"Bearer {MASTER_KEY}"} if headers is None else dict(headers),
            stream=stream,
            timeout=60,
        )

    def chat(self, text: str = "hello", model: str = "glm-pool", **more: Any) -> requests.Response:
        """One OpenAI chat completion."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        return self.call("/v1/chat/completions", body, stream=bool(more.get("stream")))

    def message(self, text: str = "hello", model: str = "glm-pool", **more: Any) -> requests.Response:
        """One Anthropic message."""
        body = {"model": model, "max_tokens": 500, "messages": [{"role": "user", "content": text}], **more}
        return self.call("/v1/messages", body, stream=bool(more.get("stream")))

    def unit(self) -> str:
        """Name of the unit that runs; waits while one starts or stops."""

        def running() -> list[str]:
            command = "systemctl list-units 'litellm-proxy@*' --state=active,activating --plain --no-legend"
            found = [line.split()[0] for line in self.host.check_output(command).splitlines()]
            return found if len(found) == 1 else []

        return wait_until(running)[0]

    def restart(self) -> None:
        """Restart the instance, and return once it answers."""
        self.host.check_output("systemctl restart %s", self.unit())

    def main_pid(self) -> int:
        """Process of the running unit."""
        return int(self.host.check_output("systemctl show -P MainPID %s", self.unit()))

    def journal(self) -> str:
        """All that the proxy has logged."""
        return str(self.host.check_output("journalctl -t litellm-proxy --no-pager -o cat"))

    def alive(self) -> bool:
        """Whether it says that it is."""
        try:
            return self.call("/health/liveliness", headers={}).status_code == 200
        except requests.ConnectionError:
            return False


class ContainerProxy(Proxy):
    """The same in compose mode: the instance is a container of the host's Docker Engine."""

    def container(self) -> str:
        """Name of the container that runs; waits while one starts or stops."""

        def running() -> list[str]:
            found = self.host.check_output("docker ps --filter name=litellm-proxy- --format '{{.Names}}'").splitlines()
            return found if len(found) == 1 else []

        return wait_until(running)[0]

    def inspect(self, template: str) -> str:
        """What Docker says of it, by a Go template."""
        return str(self.host.check_output("docker container inspect --format %s %s", template, self.container()))

    def restart(self) -> None:
        """Restart the container, and return once it answers."""
        self.host.check_output("docker restart --time 20 %s", self.container())
        wait_until(self.alive, START_SECONDS)

    def main_pid(self) -> int:
        """Process of the container as the host sees it."""
        return int(self.inspect("{{.State.Pid}}"))

    def journal(self) -> str:
        """All that the container has logged."""
        return str(self.host.check_output("docker logs %s 2>&1", self.container()))


def heal(proxy: Proxy, control: ControlClient) -> None:
    """Take every fault back, bring every key back into use and wait until each serves through both APIs."""
    control.reset()
    for name in KEY_VALUES:
        proxy.call(f"/pool/keys/{name}/enable", {})
    for ask in (proxy.chat, proxy.message):

        def all_served(ask: Callable[[], requests.Response] = ask) -> bool:
            control.reset()
            answers = [ask() for _ in KEY_VALUES]
            served = [name for name, seen in control.stats()["keys"].items() if seen["answers"]]
            return all(a.status_code == 200 for a in answers) and sorted(served) == sorted(KEY_VALUES)

        wait_until(all_served)
    control.reset()


def events(response: requests.Response) -> list[tuple[str, dict[str, Any]]]:
    """Name and data of each server-sent event of an Anthropic stream."""
    found, name = [], ""
    for raw in response.iter_lines():
        line = raw.decode()
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: ") and line != "data: [DONE]":
            found.append((name, json.loads(line.removeprefix("data: "))))
    return found


def play(
    playbook: str, settings: Mapping[str, Any], *options: str, within: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a playbook of the repository on the scenario's hosts with `settings` on top of theirs."""
    command: Sequence[str] = [
        "ansible-playbook",
        *("--inventory", os.environ["MOLECULE_INVENTORY_FILE"]),
        *("--extra-vars", json.dumps(settings)),
        *options,
        playbook,
    ]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    environment.pop("ANSIBLE_CALLBACKS_ENABLED", None)
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=within, check=False
    )
