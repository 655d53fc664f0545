"""No Redis gets a line to print that it does not know, with the password in it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from role_settings import ROOT
from store_hosts import KINDS, TEMPLATES

TASKS = """
- name: Look at the Redis of the hosts
  hosts: all
  gather_facts: false
  environment: {PATH: "{{ programs }}/{{ inventory_hostname }}:{{ path }}"}
  tasks:
    - name: Look at the version
      ansible.builtin.import_role: {name: litellm_datastore, tasks_from: version.yml, rolespec_validate: false}
"""


def test_only_lines_that_every_supported_redis_knows_have_the_password() -> None:
    found = {
        line.split("{{")[0].strip()
        for kind in KINDS
        for line in (TEMPLATES / f"{kind}.conf.j2").read_text().splitlines()
        if "litellm_datastore_password" in line
    }
    assert found == {"requirepass", "masterauth", "sentinel auth-pass"}


def test_a_redis_that_is_too_old_is_refused_before_it_gets_the_password(tmp_path: Path) -> None:
    versions = {
        "old": "Redis server v=5.0.14 sha=0",
        "unknown": "something else",
        "jammy": "Redis server v=6.0.16 sha=0",
    }
    inventory = {
        name: {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        for name in (*versions, "without")
    }
    for name, said in versions.items():
        program = tmp_path / name / "redis-server"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho '{said}'\n")
        program.chmod(0o755)
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": inventory}}))
    (tmp_path / "play.yml").write_text(TASKS)
    places = os.environ["PATH"].split(":")
    path = ":".join(place for place in places if not (Path(place) / "redis-server").exists())
    values = json.dumps({"programs": str(tmp_path), "path": path})
    done = subprocess.run(
        ["ansible-playbook", "-i", tmp_path / "hosts.json", tmp_path / "play.yml", "-e", values],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    said = " ".join((done.stdout + done.stderr).split())
    assert "old has Redis 5.0 and the role needs 6.0 or newer; the store was not configured" in said
    assert "unknown has Redis of an unknown version" in said
    assert "jammy has Redis" not in said
    assert "without has Redis" not in said
    assert said.count("failed=1") == 2
