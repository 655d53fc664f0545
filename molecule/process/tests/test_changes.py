"""What the user changes by playbooks."""

import json
import re

import pytest
from host_support import KEY_VALUES, PORT, SETTINGS, hosts_of, play
from process_support import COMMAND, USER, Instance, crontab
from testinfra.host import Host

from zai_simulator.control_client import ControlClient

testinfra_hosts = hosts_of("litellm_proxy")

SECOND = {"litellm_proxy_port": 4010}
REMOVED = {"litellm_proxy_remove_confirmed": True}


def said(done: object) -> str:
    """What a play said, without line breaks."""
    return " ".join(str(getattr(done, "stdout", "")).split())


def test_rotation_and_rollback(host: Host, proxy: Instance, pool: ControlClient) -> None:
    before = proxy.generation()
    fewer = [key for key in SETTINGS["litellm_proxy_zai_keys"] if key["name"] != "key-c"]
    done = play("playbooks/rotate_keys.yml", {"litellm_proxy_zai_keys": fewer})
    assert done.returncode == 0, done.stdout
    assert "key key-c: removed" in said(done)
    pool.reset()
    assert [proxy.chat().status_code for _ in range(4)] == [200] * 4
    assert pool.stats()["keys"]["key-c"]["requests"] == 0
    # the value is on the host in encrypted form only
    assert host.run("grep -rlF %s /home/dev", KEY_VALUES["key-c"]).stdout == ""

    back = play("playbooks/rollback.yml", {})
    assert back.returncode == 0, back.stdout
    assert proxy.generation() == before
    assert {proxy.chat().headers["x-litellm-pool-key"] for _ in KEY_VALUES} == set(KEY_VALUES)


def test_settings_that_litellm_dies_of_bring_back_what_was(proxy: Instance) -> None:
    before = proxy.generation()
    dies = {"litellm_proxy_config_extra": {"general_settings": {"master_key": "sk-1234"}}}
    done = play("site.yml", dies)
    assert done.returncode == 2
    assert "serves again" in said(done)
    assert "publicly known" in said(done)
    assert proxy.generation() == before
    assert proxy.chat().status_code == 200


def test_settings_that_litellm_refuses_never_stop_what_serves(proxy: Instance) -> None:
    before = proxy.main_pid()
    refused = {"litellm_proxy_config_extra": {"router_settings": {"routing_strategy": "no-such"}}}
    done = play("site.yml", refused)
    assert done.returncode == 2
    assert "goes on serving" in said(done)
    assert proxy.main_pid() == before


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"litellm_proxy_home": "/srv/proxy", "litellm_proxy_port": 4011},
            r"dev cannot write in /srv; set litellm_proxy_home",
        ),
        ({"litellm_proxy_home": "/home/dev/other"}, r"port 4000 is taken by python\S* \(pid \d+, user dev\)"),
        ({"litellm_proxy_port": 443}, r"litellm_proxy_port is 443: use a whole number from 1024"),
        ({"litellm_proxy_mode": "systemd"}, r"needs root|sudo"),
    ],
    ids=["home", "port", "low-port", "no-root"],
)
def test_what_a_user_cannot_do_is_said(proxy: Instance, settings: dict[str, object], told: str) -> None:
    before = proxy.main_pid()
    done = play("site.yml", settings)
    assert done.returncode != 0
    assert re.search(told, said(done)), done.stdout
    assert proxy.main_pid() == before


def test_second_port_is_a_second_instance(host: Host, proxy: Instance) -> None:
    before = proxy.main_pid()
    done = play("site.yml", {**SECOND, "litellm_proxy_start_at_boot": False})
    assert done.returncode == 0, done.stdout
    assert f"Further instances of {USER} beside this one: {proxy.home}" in said(done)
    assert "as litellm_proxy_start_at_boot is false" in said(done)
    assert crontab(host) == [f"@reboot {proxy.home}/supervisor/start"]
    second = Instance(host, 4010)
    assert [instance.chat().status_code for instance in (proxy, second)] == [200, 200]
    assert proxy.main_pid() == before
    assert second.main_pid() not in (0, before)
    assert host.file(second.log).exists
    told = [json.loads(instance.proxyctl("status --json"))["service"] for instance in (proxy, second)]
    assert [service["port"] for service in told] == [PORT, 4010]
    unclear = host.run(f"runuser -u {USER} -- env -i HOME=/home/{USER} PATH=/usr/bin:/bin {COMMAND} status")
    assert unclear.rc == 2
    assert "LITELLM_PORT" in unclear.stderr

    removed = play("playbooks/remove.yml", {**SECOND, **REMOVED})
    assert removed.returncode == 0, removed.stdout
    assert second.pids() == []
    assert not host.file(second.home).exists
    assert proxy.main_pid() == before
    assert proxy.chat().status_code == 200
    assert crontab(host) == [f"@reboot {proxy.home}/supervisor/start"]
