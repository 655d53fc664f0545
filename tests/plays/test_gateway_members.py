"""What a roll tells the gateways: one that is gone stops nothing, and nothing is removed behind the back of one."""

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.litellm_gateway_haproxy import FORCED_DRAIN
from role_settings import ROOT
from test_gateway_rotation import NEW, Master, running

from tests.plays import playing

LOCAL: dict[str, object] = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
# refused at once
AWAY: dict[str, object] = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9}


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    with running(tmp_path / "master.sock") as server:
        yield server


def play(
    directory: Path,
    tasks: list[str],
    gateways: dict[str, dict[str, object]],
    proxies: Sequence[str] = ("a", "stays"),
    playbook: str = "play.yml",
    settings: Mapping[str, object] | None = None,
    places: Mapping[str, object] | None = None,
) -> tuple[int, str]:
    """Run files of playbooks/tasks on the first of the proxies, or a playbook; how it ended, and what was said."""
    inventory = {
        "litellm_gateway": {"hosts": gateways},
        "litellm_proxy": {"hosts": dict.fromkeys(proxies, LOCAL), "vars": dict(settings or {})},
    }
    steps = [{"ansible.builtin.include_tasks": str(ROOT / "playbooks/tasks" / f"{name}.yml")} for name in tasks]
    (directory / "hosts.yml").write_text(yaml.safe_dump(inventory))
    (directory / "play.yml").write_text(yaml.safe_dump([{"hosts": proxies[0], "gather_facts": False, "tasks": steps}]))
    (directory / "unit").touch()
    known = {
        "__litellm_gateway_master": str(directory / "master.sock"),
        "__litellm_gateway_backend": "pool",
        "__litellm_gateway_up_within": 1,
        "__litellm_gateway_config_file": str(directory / "haproxy.cfg"),
        "__litellm_gateway_runtime_dir": str(directory),
        "__litellm_gateway_unit_file": str(directory / "unit"),
        # nobody's rights are needed here
        "ansible_become": False,
        **(places or {}),
    }
    (directory / "known.yml").write_text(yaml.safe_dump(known))
    environment = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PATH": f"{directory}:{os.environ['PATH']}"}
    return playing.play("-i", "hosts.yml", "-e", "@known.yml", playbook, directory=directory, environment=environment)


def test_a_host_leaves_rotation_and_returns(master: Master, tmp_path: Path) -> None:
    status, said = play(tmp_path, ["find_gateways", "drain_host", "take_back_host"], {"gw-1": LOCAL})
    assert (status, "WARNING" in said) == (0, False), said
    assert master.told == [f"{NEW} set server pool/a state drain", f"{NEW} set server pool/a state ready"]


def test_a_gateway_that_cannot_be_reached_is_named_and_stops_nothing(master: Master, tmp_path: Path) -> None:
    status, said = play(tmp_path, ["find_gateways", "drain_host"], {"gw-away": AWAY, "gw-1": LOCAL})
    assert status == 0, said
    assert "WARNING: gateway(s) gw-away cannot be reached" in said
    assert master.told == [f"{NEW} set server pool/a state drain"]


def test_another_host_in_place_of_a_gateway_is_told_nothing(master: Master, tmp_path: Path) -> None:
    # as where ansible_host of the gateway is a template of inventory_hostname
    status, said = play(tmp_path, ["find_gateways", "drain_host"], {"gw-1": LOCAL}, proxies=["c"])
    assert status == 0, said
    assert "or it has none of the proxies (write ansible_host out" in said
    assert master.told == []


def test_a_gateway_that_does_not_run_is_named_and_stops_nothing(tmp_path: Path) -> None:
    status, said = play(tmp_path, ["find_gateways", "drain_host"], {"gw-1": LOCAL})
    assert status == 0, said
    assert "WARNING: gateway(s) gw-1 cannot be reached, HAProxy does not run there" in said


def test_a_host_that_a_gateway_finds_down_fails(master: Master, tmp_path: Path) -> None:
    master.operation = [0]
    status, said = play(tmp_path, ["find_gateways", "take_back_host"], {"gw-1": LOCAL})
    assert status != 0
    assert "gw-1: no health check of a passed within 1 s, at 10.0.0.21:4000: L7OK 200 OK." in said
    assert "L4TOUT: a firewall, or another litellm_proxy_address. L4CON: litellm_proxy_host is 127.0.0.1" in said


def written(directory: Path, port: int) -> None:
    """What the gateway has loaded: the host with a port."""
    config = directory / "haproxy.cfg"
    config.write_text(f"backend pool\n    server a 127.0.0.1:{port} check\n")
    (directory / "loaded").write_text(hashlib.sha256(config.read_bytes()).hexdigest())


def test_a_host_that_a_gateway_has_at_another_port_stays_drained_until_the_gateway_is_deployed(
    master: Master, tmp_path: Path
) -> None:
    master.operation = [0]
    written(tmp_path, 4000)
    tasks = ["find_gateways", "drain_host", "take_back_host"]
    place: dict[str, object] = {"ansible_host": "127.0.0.1", "litellm_proxy_port": 4100}
    status, said = play(tmp_path, tasks, {"gw-1": LOCAL}, settings=place)
    assert status == 0, said
    assert "WARNING: gw-1 has a at another address or port, or with other TLS" in said
    assert master.told == [f"{NEW} set server pool/a state drain"]


def test_a_host_that_a_gateway_has_where_it_is_is_waited_for(master: Master, tmp_path: Path) -> None:
    master.operation = [0]
    written(tmp_path, 4100)
    place: dict[str, object] = {"ansible_host": "127.0.0.1", "litellm_proxy_port": 4100}
    status, said = play(tmp_path, ["find_gateways", "take_back_host"], {"gw-1": LOCAL}, settings=place)
    assert status != 0
    assert "no health check of a passed" in said


def test_an_instance_that_is_stopped_for_the_next_one_is_emptied_first(master: Master, tmp_path: Path) -> None:
    master.running = {NEW: [2, 2, 1, 0]}
    status, said = play(
        tmp_path, ["find_gateways", "drain_host"], {"gw-1": LOCAL}, settings={"litellm_proxy_front": "none"}
    )
    assert status == 0, said
    assert master.running[NEW] == [0]


def test_nothing_is_removed_while_a_gateway_cannot_be_told(master: Master, tmp_path: Path) -> None:
    status, said = play(tmp_path, ["forget_host"], {"gw-away": AWAY, "gw-1": LOCAL})
    assert status != 0
    assert "gw-away cannot be told to send nothing to a, and might do so still. Nothing was removed." in said
    assert master.told == []


SYSTEMCTL = """#!/bin/sh
case $1 in
  show) printf 'LoadState=loaded\\nActiveState=active\\n' ;;
  reload)
    echo "$*" >>{directory}/reloads
    [ -e {directory}/works ] || exit 1
    sha256sum <{directory}/haproxy.cfg | cut -d ' ' -f 1 >{directory}/loaded ;;
esac
"""


def test_a_host_that_was_forgotten_but_not_yet_by_the_running_gateway(master: Master, tmp_path: Path) -> None:
    config, loaded, reloads = (tmp_path / name for name in ("haproxy.cfg", "loaded", "reloads"))
    config.write_text("backend pool\n    server a 10.0.0.21:4000 check\n    server stays 10.0.0.22:4000 check\n")
    loaded.write_text(hashlib.sha256(config.read_bytes()).hexdigest())
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(SYSTEMCTL.replace("{directory}", str(tmp_path)))
    systemctl.chmod(0o755)

    def forget() -> tuple[int, str]:
        places = {
            "__litellm_gateway_config_file": str(config),
            "__litellm_gateway_loaded": str(loaded),
            "__litellm_gateway_loaded_files": [str(config)],
            "__litellm_gateway_haproxy": "true",
        }
        return play(tmp_path, ["forget_host"], {"gw-1": LOCAL}, places=places)

    assert forget()[0] != 0
    assert config.read_text() == "backend pool\n    server stays 10.0.0.22:4000 check\n"
    (tmp_path / "works").touch()
    status, said = forget()
    assert status == 0, said
    assert reloads.read_text() == "reload litellm-gateway.service\n" * 2
    # and no more than once
    status, said = forget()
    assert status == 0, said
    assert reloads.read_text() == "reload litellm-gateway.service\n" * 2


def test_a_host_that_a_gateway_remembers_as_drained_is_taken_back_in_the_end(master: Master, tmp_path: Path) -> None:
    master.administration = FORCED_DRAIN
    status, said = play(tmp_path, [], {"gw-1": LOCAL}, ["a"], str(ROOT / "playbooks/rotation.yml"))
    assert status == 0, said
    assert master.told == [f"{NEW} set server pool/a health down", f"{NEW} set server pool/a state ready"]
    assert "WARNING" not in said
    master.administration = 0
    status, said = play(tmp_path, [], {"gw-1": LOCAL}, ["a"], str(ROOT / "playbooks/rotation.yml"))
    assert (status, "changed=0" in said) == (0, True), said


def test_a_gateway_that_does_not_have_a_host_is_named_in_the_end(master: Master, tmp_path: Path) -> None:
    status, said = play(tmp_path, [], {"gw-1": LOCAL}, ["a", "new"], str(ROOT / "playbooks/rotation.yml"))
    assert status == 0, said
    assert "WARNING: gw-1 does not have new and sends it nothing; run site.yml without --limit." in said


def test_a_host_is_taken_back_in_the_end_wherever_the_gateway_has_it(master: Master, tmp_path: Path) -> None:
    master.operation = [0]
    written(tmp_path, 4000)
    rotation, place = str(ROOT / "playbooks/rotation.yml"), {"litellm_proxy_port": 4100}
    status, said = play(tmp_path, [], {"gw-1": LOCAL}, ["a"], rotation, place)
    assert status != 0
    assert "gw-1: no health check of a passed within 1 s, at 10.0.0.21:4000" in said
    assert master.told == [f"{NEW} set server pool/a state ready"]
