"""A Redis that would listen where no proxy looks for it is refused before the host changes; no host is needed."""

import json
import sys
from pathlib import Path

import pytest

from tests.plays.playing import play

OWN, OTHER = "10.0.0.11", "192.0.2.7"
TASKS = """
- name: Look at the host
  hosts: all
  gather_facts: false
  tasks:
    - name: Take these for the host's facts
      ansible.builtin.set_fact: {distribution: Debian, distribution_version: "12.5", distribution_major_version: "12",
        all_ipv4_addresses: [10.0.0.11, 192.0.2.7], all_ipv6_addresses: [], default_ipv4: {address: 10.0.0.11},
        cacheable: true}
    - name: Check
      ansible.builtin.import_role: {name: litellm_datastore, tasks_from: preflight.yml, rolespec_validate: false}
"""


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"ansible_host": OTHER}, f"would listen on {OWN}, and the proxies look for it on {OTHER} (ansible_host)"),
        ({"ansible_host": OTHER, "litellm_datastore_address": OWN}, ""),
        ({"ansible_host": OTHER, "litellm_datastore_address": OTHER}, ""),
        ({"ansible_host": OWN}, ""),
        ({"ansible_host": "redis-1.example.com"}, ""),
        ({}, ""),
        ({"litellm_datastore_address": "10.9.9.9"}, "is '10.9.9.9', none of its own addresses (10.0.0.11, 192.0.2.7)"),
    ],
)
def test_redis_listens_where_the_proxies_look_for_it(tmp_path: Path, settings: dict[str, str], refused: str) -> None:
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {"redis-1": settings}}}))
    (tmp_path / "play.yml").write_text(TASKS)
    values = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "litellm_datastore_password": "9f2c81d09be74a36a1b2c3d4e5f60718",
    }
    status, said = play("-i", tmp_path / "hosts.json", tmp_path / "play.yml", "-e", json.dumps(values))
    went_on = "Look at the Redis that is here" in said
    assert went_on != bool(refused), said
    if refused:
        assert status != 0
        assert refused in said
