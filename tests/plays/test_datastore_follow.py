"""After the start of a Redis, against real ones: a master or a replica of the group is well, nobody else."""

import json
import sys
from pathlib import Path
from typing import Any

from store_hosts import ADDRESSES, StoreHost, running_store, settings

from tests.plays.playing import play

TASKS = """
- name: Look at the host
  hosts: all
  gather_facts: false
  tasks:
    - name: See that it follows
      ansible.builtin.import_role: {name: litellm_datastore, tasks_from: follow.yml, rolespec_validate: false}
"""


def follow(directory: Path, values: dict[str, Any], host: StoreHost, group: list[str]) -> tuple[int, str]:
    """Look at one host of a store that has these hosts."""
    inventory = {host.address: {"litellm_datastore_address": host.address}}
    (directory / "hosts.json").write_text(json.dumps({"all": {"hosts": inventory}}))
    (directory / "play.yml").write_text(TASKS)
    values = values | {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "litellm_datastore_hosts": group,
        "__litellm_datastore_lib_dir": str(host.lib),
    }
    return play("-i", directory / "hosts.json", directory / "play.yml", "-e", json.dumps(values))


def test_a_redis_that_is_left_alone_and_follows_another_is_refused(tmp_path: Path) -> None:
    values = settings()
    with running_store(tmp_path, values) as (master, replica, _):
        for host in (master, replica):
            status, said = follow(tmp_path, values, host, list(ADDRESSES))
            assert status == 0, said
        status, said = follow(tmp_path, values, master, [master.address])
        assert status == 0, said

        status, said = follow(tmp_path, values, replica, [replica.address])
        assert status != 0
        assert f"Redis of {replica.address} follows {master.address}, a host that left litellm_redis" in said
        assert "Put that one back into the group" in said
