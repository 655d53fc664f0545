"""A new host that could not join the store is refused before any host is changed; the tasks run without a host."""

import json
import sys
from pathlib import Path

import pytest

from tests.plays.playing import play

TASKS = """
- name: Look at the hosts
  hosts: all:!gone
  gather_facts: false
  tasks:
    - name: Take the release as the host's
      ansible.builtin.set_fact: {distribution: Debian, distribution_version: "{{ release }}", cacheable: true,
        distribution_major_version: "{{ release | split('.') | first }}"}
    - name: Locate
      ansible.builtin.import_role: {name: litellm_datastore, tasks_from: locate.yml, rolespec_validate: false}
"""


def look(
    directory: Path,
    hosts: dict[str, str],
    known: tuple[str, ...] = (),
    lost: tuple[str, ...] = (),
    changed: tuple[str, ...] = (),
    moved: tuple[str, ...] = (),
) -> tuple[int, str]:
    """Look at hosts, given by name with their release of Debian.

    Those that are known lie in the store already, but for the state of those that lost it; those that are changed get
    another way to speak, and those that moved another address.
    """
    inventory = {
        name: {
            "release": release,
            "litellm_datastore_address": name,
            "access": "another" if name in changed else "as before",
        }
        for name, release in hosts.items()
    }
    (directory / "hosts.json").write_text(json.dumps({"all": {"hosts": inventory}}))
    (directory / "play.yml").write_text(TASKS)
    values = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "litellm_datastore_hosts": list(hosts),
        "litellm_datastore_password": "9f2c81d09be74a36a1b2c3d4e5f60718",
        "__litellm_datastore_config_dir": f"{directory}/{{{{ inventory_hostname }}}}",
        "__litellm_datastore_state_dir": f"{directory}/{{{{ inventory_hostname }}}}/state",
        "__litellm_datastore_access": "{{ access }}",
    }
    for name in known:
        state = directory / name / "state"
        state.mkdir(parents=True)
        (directory / name / "access").write_text("as before\n")
        address = "old" if name in moved else name
        (directory / name / "redis.conf").write_text(f"bind 127.0.0.1 {address}\nrequirepass secret\n")
        for kind in () if name in lost else ("redis", "sentinel"):
            (state / f"{kind}.conf").touch()
    return play("-i", directory / "hosts.json", directory / "play.yml", "-e", json.dumps(values))


def test_hosts_of_one_release_and_newer_ones_beside_older_are_taken(tmp_path: Path) -> None:
    status, said = look(tmp_path, {"one": "12.5", "two": "13.1", "three": "12"}, known=("one", "three"))
    assert status == 0, said


@pytest.mark.parametrize("known", [(), ("one", "two")])
def test_a_new_host_that_could_not_follow_is_refused(tmp_path: Path, known: tuple[str, ...]) -> None:
    status, said = look(tmp_path, {"one": "13.1", "two": "13.1", "three": "12.5"}, known=known)
    assert status != 0
    assert "three is new, and its Redis 7.0 cannot follow the newer one of one, two" in said


def test_a_new_host_is_not_deployed_without_a_look_at_the_others(tmp_path: Path) -> None:
    status, said = look(tmp_path, {"one": "13.1", "two": "13.1", "gone": "13.1"}, known=("one",))
    assert status != 0
    assert "two is new or has lost" in said
    assert "this run has not looked at gone" in said


HOSTS = {"one": "13.1", "two": "13.1", "gone": "13.1"}
TOGETHER = {"one": "13.1", "two": "13.1", "three": "13.1"}


def test_a_host_that_lost_its_state_is_not_deployed_without_a_look_at_the_others(tmp_path: Path) -> None:
    status, said = look(tmp_path, HOSTS, known=("one", "two"), lost=("two",))
    assert status != 0
    assert f"two is new or has lost {tmp_path}/two/state, and this run has not looked at gone" in said


def test_hosts_that_stay_as_they_are_need_no_look_at_the_others(tmp_path: Path) -> None:
    status, said = look(tmp_path, HOSTS, known=("one", "two"))
    assert status == 0, said


def test_a_new_way_to_speak_has_to_reach_every_host(tmp_path: Path) -> None:
    status, said = look(tmp_path, HOSTS, known=("one", "two"), changed=("one", "two"))
    assert status != 0
    assert "one would get another password, port, name or TLS, and this run leaves out gone" in said


def test_a_new_way_to_speak_for_all_is_taken(tmp_path: Path) -> None:
    status, said = look(tmp_path, TOGETHER, known=tuple(TOGETHER), changed=tuple(TOGETHER))
    assert status == 0, said


def test_a_host_that_lost_its_state_joins_before_a_new_way_to_speak(tmp_path: Path) -> None:
    status, said = look(tmp_path, TOGETHER, known=tuple(TOGETHER), lost=("one",), changed=tuple(TOGETHER))
    assert status != 0
    assert f"one is new or has lost {tmp_path}/one/state, and one, three, two would get another password" in said


def test_another_address_of_a_host_that_others_know_is_refused_with_the_way_to_do_it(tmp_path: Path) -> None:
    status, said = look(tmp_path, TOGETHER, known=tuple(TOGETHER), moved=("two",))
    assert status != 0
    assert "litellm_datastore_address of two changes from old to two" in said
    assert "--limit two -e litellm_datastore_state=absent" in said


def test_a_single_host_may_get_another_address(tmp_path: Path) -> None:
    status, said = look(tmp_path, {"one": "13.1"}, known=("one",), moved=("one",))
    assert status == 0, said
