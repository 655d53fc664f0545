"""The last look at the store, against real Redis and Sentinels: who is gone is forgotten, who is left over is named."""

import json
import sys
from pathlib import Path
from typing import Any

from litellm_datastore_strangers import FilterModule
from store_hosts import ADDRESSES, StoreHost, running_store, settings

from tests.plays.playing import play
from tests.pool.redis_cluster import wait_until

TASKS = """
- name: Look at the hosts
  hosts: "{{ proven }}"
  gather_facts: false
  serial: 1
  max_fail_percentage: 0
  tasks:
    - name: Prove
      ansible.builtin.import_role: {name: litellm_datastore, tasks_from: prove.yml, rolespec_validate: false}
"""


def prove(
    directory: Path, values: dict[str, Any], hosts: list[StoreHost], away: tuple[str, ...] = ()
) -> tuple[int, str]:
    """Prove that these hosts are the store, with those that do not answer, and no others."""
    inventory = {
        host.address: {"litellm_datastore_address": host.address, "litellm_datastore_located": host.address}
        for host in hosts
    }
    (directory / "hosts.json").write_text(json.dumps({"all": {"hosts": inventory | dict.fromkeys(away)}}))
    (directory / "play.yml").write_text(TASKS)
    values = values | {
        "proven": list(inventory),
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "litellm_datastore_hosts": [*inventory, *away],
        "__litellm_datastore_lib_dir": f"{directory}/{{{{ inventory_hostname }}}}/lib",
    }
    return play("-i", directory / "hosts.json", directory / "play.yml", "-e", json.dumps(values))


def test_a_host_that_is_gone_is_forgotten_and_one_that_is_left_over_is_named(tmp_path: Path) -> None:
    values = settings()
    with running_store(tmp_path, values) as hosts:
        *stay, leaves = hosts
        status, said = prove(tmp_path, values, hosts)
        assert (status, said.count("changed=0")) == (0, 3), said

        leaves.stop()
        status, said = prove(tmp_path, values, stay)
        assert (status, said.count("changed=1")) == (0, 2), said
        for host in stay:
            seen: Any = host.client("sentinel").sentinel_master("pool")
            assert (seen["num-slaves"], seen["num-other-sentinels"]) == (1, 1)

        leaves.start()
        wait_until(lambda: all(host.sees() == (ADDRESSES[0], 2, 2) for host in hosts))
        status, said = prove(tmp_path, values, stay)
        assert status != 0
        assert f"It also finds {leaves.address}, which no host of this run has" in said
        assert "run there litellm_datastore_state=absent" in said


def test_a_host_that_does_not_answer_is_no_reason_to_refuse_the_others(tmp_path: Path) -> None:
    values = settings()
    with running_store(tmp_path, values) as hosts:
        *there, away = hosts
        away.stop()
        for host in there:
            asked: Any = host.client("sentinel")
            asked.sentinel_reset("pool")
            wait_until(lambda host=host: host.sees() == (ADDRESSES[0], 1, 1))  # type: ignore[misc]
        status, said = prove(tmp_path, values, there, away=(away.address,))
        assert (status, said.count("changed=0")) == (0, 2), said


def test_who_is_of_the_store_is_no_stranger() -> None:
    answers = [
        "name\n10.0.0.2:6379\nip\n10.0.0.2\nname\n10.0.0.9:6379\nip\n10.0.0.9",
        "name\nabc\nip\n10.0.0.9",
        "",
        "No",
    ]
    strangers = FilterModule().filters()["litellm_datastore_strangers"]
    assert strangers(answers, ["10.0.0.1", "10.0.0.2"]) == ["10.0.0.9"]
