"""The slots that clients hold, and a program that is killed in the middle of its answer."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from host_support import wait_until
from workstation_support import Workstation

from zai_simulator.control_client import ControlClient


def idle(simulator: ControlClient) -> bool:
    """Whether no account has a request in flight."""
    seen: dict[str, Any] = simulator.stats()
    return all(use["in_flight"] == 0 for models in seen["accounts"].values() for use in models.values())


def assert_slot_comes_back(
    workstation: Workstation, simulator: ControlClient, client: str, command: str, prepare: str = ""
) -> None:
    """Kill a command whose answer takes many seconds once the answer has begun; nothing is in flight soon after."""
    wait_until(lambda: idle(simulator), 10)
    gone = simulator.stats()["clients_gone"]
    script = (
        f"{prepare}\nrm -f ../../kill\n{command} </dev/null & child=$!\n"
        "until [ -e ../../kill ]; do sleep 0.1; done\npkill -9 -P $child; kill -9 $child; wait $child; echo killed"
    )
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(workstation.run, script, client)
        wait_until(lambda: not idle(simulator), 30)
        workstation.run("touch ../../kill")
        assert "killed" in running.result().stdout
    wait_until(lambda: idle(simulator), 5)
    assert simulator.stats()["clients_gone"] > gone
