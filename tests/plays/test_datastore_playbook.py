"""What the playbook of the store does with hosts that do not answer; the role only notes where it ran."""

import json
import sys
from pathlib import Path

from role_settings import ROOT

from tests.plays.playing import play

NOTE = """
- name: Note the host
  ansible.builtin.file: {{path: "{place}/{part} {{{{ inventory_hostname }}}}.ran", state: touch, mode: "0600"}}
"""
LOCATE = """
- name: Locate
  ansible.builtin.set_fact: {litellm_datastore_located: there}
"""
PARTS = ("validate", "preflight", "locate", "main", "prove")


def deploy(directory: Path, away: tuple[str, ...], hosts: tuple[str, ...] = ("one", "two", "three")) -> tuple[int, str]:
    """Run the playbook where some hosts do not answer, and a play on other hosts after it."""
    tasks = directory / "roles" / "litellm_datastore" / "tasks"
    tasks.mkdir(parents=True)
    for part in PARTS:
        text = NOTE.format(place=directory, part=part) + (LOCATE if part == "locate" else "")
        (tasks / f"{part}.yml").write_text(text)
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    # nobody listens there
    dead = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    groups = {
        "litellm_redis": {"hosts": {name: dead if name in away else local for name in hosts}},
        "litellm_proxy": {"hosts": {"proxy": local}},
    }
    (directory / "hosts.json").write_text(json.dumps({"all": {"children": groups}}))
    (directory / "site.yml").write_text(
        f"- name: Deploy the store\n  ansible.builtin.import_playbook: {ROOT}/playbooks/datastore.yml\n"
        "- name: Deploy the proxies\n  hosts: litellm_proxy\n  gather_facts: false\n  max_fail_percentage: 0\n"
        "  tasks:" + NOTE.format(place=directory, part="proxy").replace("\n", "\n    ") + "\n"
    )
    environment = {"ANSIBLE_ROLES_PATH": str(directory / "roles"), "ANSIBLE_HOST_KEY_CHECKING": "false"}
    arguments = ("-i", "hosts.json", "-e", "ansible_become=false", "site.yml")
    return play(*arguments, directory=directory, environment=environment)


def ran(directory: Path) -> set[str]:
    return {noted.stem for noted in directory.glob("*.ran")}


def test_the_other_two_are_deployed_when_one_of_three_does_not_answer(tmp_path: Path) -> None:
    status, said = deploy(tmp_path, away=("two",))
    assert status != 0
    deployed = {f"{part} {name}" for part in PARTS for name in ("one", "three")}
    assert ran(tmp_path) == {*deployed, "proxy proxy"}, said
    assert "two did not answer and nothing was changed there" in said


def test_nothing_is_deployed_when_two_of_three_do_not_answer(tmp_path: Path) -> None:
    status, said = deploy(tmp_path, away=("one", "three"))
    assert status != 0
    assert ran(tmp_path) == set()
    assert "one and three do not answer; no host changed" in said


def test_nobody_is_said_to_be_left_out_when_all_answer(tmp_path: Path) -> None:
    status, said = deploy(tmp_path, away=(), hosts=("one",))
    assert status == 0, said
    assert ran(tmp_path) == {"validate one", "preflight one", "locate one", "main one", "proxy proxy"}
    assert "nothing was changed there" not in said
