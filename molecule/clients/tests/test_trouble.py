"""One key is revoked, one has no quota left, and all are rotated: no client notices."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from clients_support import LATER, ROTATED
from curl_support import calls
from host_support import play, wait_until
from workstation_support import SDKS, Workstation

from zai_simulator.control_client import ControlClient

ALL = [*SDKS, "claude-code", "codex", "curl"]


class Loops:
    """The clients that go on asking until they are told to end."""

    def __init__(self, workstation: Workstation) -> None:
        self.workstation = workstation
        self.ended = Event()
        self.rounds = dict.fromkeys(ALL, 0)
        self.failures: list[str] = []

    def sdk(self, client: str) -> None:
        """One process, which repeats by itself."""
        seen = self.workstation.features(
            client, ["--repeat", f"/home/dev/{client}.begun", "/home/dev/end"], seconds=280
        )
        self.rounds[client] = seen["rounds"]
        self.failures += [f"{client}: {failure}" for failure in seen["failures"]]

    def program(self, client: str, ask: Callable[[], str]) -> None:
        """A new process each time."""
        while not self.ended.is_set():
            if failure := ask():
                self.failures.append(f"{client}: {failure}")
            self.rounds[client] += 1
            # leaves the machine to the others
            self.ended.wait(2)

    def claude(self) -> str:
        """A failure's text, empty for none."""
        done = self.workstation.claude("hello")
        return "" if "simulated answer to: hello" in done.stdout else done.stdout + done.stderr

    def codex(self) -> str:
        """The same."""
        done = self.workstation.codex("hello")
        return "" if "simulated answer to: hello" in done.stdout else done.stdout + done.stderr

    def curl(self) -> str:
        """The same."""
        bad = [answer for answers in calls(self.workstation, "text", "stream", "tools").values() for answer in answers]
        return "".join(str(answer) for answer in bad if answer.status != 200)

    def all_begun(self) -> bool:
        """Whether each client has had its first answers."""
        begun = self.workstation.run("ls /home/dev/*.begun").stdout
        return all(f"{name}.begun" in begun for name in SDKS) and all(
            self.rounds[name] for name in ("claude-code", "codex", "curl")
        )


@pytest.fixture(scope="module")
def loops(workstation: Workstation, simulator: ControlClient) -> Loops:
    """What all clients saw together."""
    simulator.set_key("key-b", revoked=True)
    simulator.set_key("key-c", fault={"code": "1308", "reset_in": 3600})
    workstation.run("rm -f /home/dev/*.begun /home/dev/end")
    found = Loops(workstation)
    with ThreadPoolExecutor(len(ALL)) as threads:
        running = [threads.submit(found.sdk, client) for client in SDKS]
        for client, ask in (("claude-code", found.claude), ("codex", found.codex), ("curl", found.curl)):
            running.append(threads.submit(found.program, client, ask))
        try:
            wait_until(found.all_begun, 90)
            seen = simulator.stats()["keys"]
            rotated = play("playbooks/rotate_keys.yml", ROTATED)
            assert rotated.returncode == 0, rotated.stdout
            wait_until(lambda: simulator.stats()["keys"]["key-a-later"]["answers"] > 5)
        finally:
            found.ended.set()
            workstation.run("touch /home/dev/end")
        for future in running:
            future.result()
    assert seen["key-b"]["requests"] > 0
    assert seen["key-c"]["requests"] > 0
    assert seen["key-b"]["answers"] == seen["key-c"]["answers"] == 0
    later = simulator.stats()["keys"]
    assert all(later[f"{name}-later"]["answers"] > 0 for name in LATER)
    print(found.rounds)
    return found


@pytest.mark.parametrize("client", [pytest.param(name, marks=pytest.mark.cell(name, "trouble")) for name in ALL])
def test_nothing_is_noticed(loops: Loops, client: str) -> None:
    assert [failure for failure in loops.failures if failure.startswith(f"{client}: ")] == []
    assert loops.rounds[client] >= 2
