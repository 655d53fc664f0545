"""What the playbooks do with several hosts, by roles that only say what they would do."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml
from role_settings import ROOT

from tests.plays import playing

LOCAL: dict[str, object] = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
# refused at once
AWAY: dict[str, object] = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9}
VANISHES: dict[str, object] = {
    "name": "Vanish",
    "ansible.builtin.ping": None,
    "when": "vanishes | default(false)",
    "vars": {**AWAY, "ansible_connection": "{{ 'ssh' if vanishes | default(false) else 'local' }}"},
}
FACTS: dict[str, dict[str, object]] = {
    "serving": {
        "litellm_proxy_serving": {"current": "{{ serves }}", "previous": ""},
        "litellm_proxy_generations": "{{ has | default(['0ld', 'new']) }}",
    },
    "members/find": {"litellm_gateway_hosts_running": "{{ litellm_gateway_hosts }}"},
}
TASKS = {
    "litellm_proxy": ["validate", "main", "status", "serving", "rollback"],
    "litellm_gateway": ["validate", "main", "status", "members/find", "members/ready", "members/prove"],
    "litellm_datastore": ["validate", "preflight", "locate", "main", "prove"],
}


def say(role: str, what: str) -> dict[str, object]:
    return {"name": "Say", "ansible.builtin.debug": {"msg": f"{role} {what} on {{{{ inventory_hostname }}}}."}}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for part in ("playbooks", "site.yml", "ansible.cfg"):
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / part)
    for role, names in TASKS.items():
        directory = tmp_path / "roles" / role / "tasks"
        (directory / "members").mkdir(parents=True)
        for name in names:
            steps: list[dict[str, object]] = [say(role, name)]
            if name == "validate":
                fault = {"msg": f"fault of {role}"}
                steps.append({"name": "Fail", "ansible.builtin.fail": fault, "when": f"{role}_fault | default(false)"})
            if name == "main":
                steps.insert(0, VANISHES)
            if name in FACTS:
                steps.append({"name": "Know", "ansible.builtin.set_fact": FACTS[name]})
            (directory / f"{name}.yml").write_text(yaml.safe_dump(steps))
    return tmp_path


def play(checkout: Path, playbook: str, groups: dict[str, dict[str, object]], *options: str) -> tuple[int, str]:
    """Run a playbook on the hosts of groups; how it ended, and what was said."""
    (checkout / "hosts.yml").write_text(yaml.safe_dump(groups))
    return playing.play("-i", "hosts.yml", playbook, "-e", "ansible_become=false", *options, directory=checkout)


def test_a_host_that_vanishes_stops_those_after_its_batch_and_serial_comes_from_the_groups_variables(
    checkout: Path,
) -> None:
    hosts = dict.fromkeys("abcde", LOCAL) | {"b": LOCAL | {"vanishes": True}}
    groups = {"litellm_proxy": {"hosts": hosts, "vars": {"litellm_proxy_serial": [1, 2]}}}
    code, said = play(checkout, "playbooks/proxy.yml", groups)
    assert code != 0
    assert "b cannot be reached, as said above, and may still be out of rotation" in said
    assert [name for name in "abcde" if f"litellm_proxy main on {name}." in said] == ["a", "c"]


def test_serial_of_the_command_line_goes_before_that_of_the_group(checkout: Path) -> None:
    hosts = dict.fromkeys("abc", LOCAL) | {"a": LOCAL | {"vanishes": True}}
    groups = {"litellm_proxy": {"hosts": hosts, "vars": {"litellm_proxy_serial": 1}}}
    _, said = play(checkout, "playbooks/proxy.yml", groups, "-e", "litellm_proxy_serial=100%")
    assert [name for name in "abc" if f"litellm_proxy main on {name}." in said] == ["b", "c"]


@pytest.mark.parametrize("role", ["", "litellm_gateway", "litellm_proxy"])
def test_all_settings_are_judged_once_and_before_any_host_is_changed(checkout: Path, role: str) -> None:
    groups: dict[str, dict[str, object]] = {
        "litellm_redis": {"hosts": {"r": LOCAL}}, "litellm_proxy": {"hosts": {"p": LOCAL}},
        "litellm_gateway": {"hosts": {"g": LOCAL}},
    }  # fmt: skip
    code, said = play(checkout, "site.yml", groups, *(["-e", f"{role}_fault=true"] if role else []))
    if role:
        assert (code, f"fault of {role}" in said, " main on " in said) == (2, True, False), said
        return
    assert code == 0, said
    steps = ["litellm_datastore validate on r.", "litellm_proxy validate on p.", "litellm_gateway validate on g.",
             "litellm_datastore main on r.", "litellm_proxy main on p.", "litellm_gateway main on g.",
             "litellm_gateway members/prove on p."]  # fmt: skip
    assert [said.count(step) for step in steps] == [1] * len(steps), said
    assert sorted(steps, key=said.index) == steps


def test_a_host_that_has_rolled_back_already_is_taken_back(checkout: Path) -> None:
    hosts = {"a": LOCAL | {"serves": "0ld"}, "b": LOCAL | {"serves": "new"}}
    groups: dict[str, dict[str, object]] = {
        "litellm_proxy": {"hosts": hosts}, "litellm_gateway": {"hosts": {"g": LOCAL}},
    }  # fmt: skip
    code, said = play(checkout, "playbooks/rollback.yml", groups, "-e", "litellm_proxy_generation=0ld")
    assert code == 0, said
    assert "litellm_gateway members/ready on a." in said
    assert [name for name in "ab" if f"litellm_proxy rollback on {name}." in said] == ["b"]


def test_the_other_gateway_is_deployed_where_one_is_away(checkout: Path) -> None:
    groups: dict[str, dict[str, object]] = {"litellm_gateway": {"hosts": {"gw-1": AWAY, "gw-2": LOCAL}}}
    code, said = play(checkout, "playbooks/gateway.yml", groups)
    assert code != 0
    assert "litellm_gateway main on gw-2." in said
    assert "gw-1 cannot be reached and is as it was; the other gateways are deployed." in said


def test_the_proxies_are_shown_where_the_only_gateway_is_away(checkout: Path) -> None:
    groups: dict[str, dict[str, object]] = {
        "litellm_gateway": {"hosts": {"gw-1": AWAY}}, "litellm_proxy": {"hosts": {"p": LOCAL}},
    }  # fmt: skip
    code, said = play(checkout, "playbooks/status.yml", groups)
    assert code != 0
    assert "litellm_proxy status on p." in said
    assert "gw-1 cannot be reached." in said


@pytest.mark.parametrize(
    ("options", "stays"),
    [((), True), (("-e", "litellm_proxy_remove_store=true"), False), (("--limit", "a:b"), False)],
)
def test_a_store_of_which_two_would_remain_stays(checkout: Path, options: tuple[str, ...], stays: bool) -> None:
    hosts = dict.fromkeys("abc", LOCAL)
    limit = () if "--limit" in options else ("--limit", "c")
    groups: dict[str, dict[str, object]] = {"litellm_proxy": {"hosts": hosts}, "litellm_redis": {"hosts": hosts}}
    confirmed = ("-e", "litellm_proxy_remove_confirmed=true")
    code, said = play(checkout, "playbooks/remove.yml", groups, *confirmed, *limit, *options)
    assert code == 0, said
    assert ("Redis stays on c: of 3 hosts in litellm_redis 2 would remain" in said) is stays
    assert ("litellm_datastore main on" in said) is not stays


def test_the_last_redis_stays_where_proxies_stay_that_share_it(checkout: Path) -> None:
    groups: dict[str, dict[str, object]] = {
        "litellm_gateway": {"hosts": {"gw": LOCAL}}, "litellm_redis": {"hosts": {"gw": LOCAL}},
        "litellm_proxy": {"hosts": dict.fromkeys("ab", LOCAL)},
    }  # fmt: skip
    confirmed = ("-e", "litellm_proxy_remove_confirmed=true")
    code, said = play(checkout, "playbooks/remove.yml", groups, *confirmed, "--limit", "gw")
    assert code == 0, said
    assert "Redis stays on gw: a, b would each have every limit for itself." in said
    assert "litellm_datastore main on" not in said
    code, said = play(checkout, "playbooks/remove.yml", groups, *confirmed)
    assert (code, "litellm_datastore main on gw." in said) == (0, True), said


def test_a_host_of_several_is_removed_by_the_playbook_for_it_alone(checkout: Path) -> None:
    groups: dict[str, dict[str, object]] = {
        "litellm_gateway": {"hosts": {"gw": LOCAL}},
        "litellm_proxy": {"hosts": {"a": LOCAL, "b": LOCAL | {"litellm_proxy_state": "absent"}}},
    }  # fmt: skip
    for playbook in ("site.yml", "playbooks/proxy.yml"):
        code, said = play(checkout, playbook, groups)
        assert (code, " main on " in said) == (2, False), said
        assert "litellm_proxy_state of b is absent, and gw would go on sending it requests" in said


@pytest.mark.parametrize("named", ["old", "new"])
def test_nobody_goes_back_to_a_generation_that_one_lacks(checkout: Path, named: str) -> None:
    hosts = {"a": LOCAL | {"serves": "new"}, "b": LOCAL | {"serves": "new", "has": ["new"]}}
    option = ("-e", f"litellm_proxy_generation={named}")
    code, said = play(checkout, "playbooks/rollback.yml", {"litellm_proxy": {"hosts": hosts}}, *option)
    refused = (
        "litellm_proxy_generation is old, and not every host has that; nothing was changed: - a: 0ld, new - b: new"
    )
    assert ((code != 0), refused in said, "litellm_proxy rollback on" in said) == (
        (True, True, False) if named == "old" else (False, False, True)
    ), said
