"""The configuration of the address that two gateways share, judged by keepalived itself."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Any

import litellm_gateway_files as files
import pytest

from tests.gateway.front import HAPROXY
from tests.gateway.rendering import render, variables

PEERS = ["10.0.0.1", "10.0.0.2"]
KEEPALIVED = Path(HAPROXY).with_name("keepalived")


def settings(own: str, **changes: object) -> dict[str, Any]:
    given = {
        "scope": "cluster", "address": own, "virtual_address": "10.0.0.10/24", "virtual_interface": "lo",
        "virtual_password": "n7Gq2xWd", "virtual_peers": PEERS,
    }  # fmt: skip
    return variables(**given | changes) | {"inventory_hostname": f"gw-{own[-1]}"}


def lines(own: str, **changes: object) -> list[str]:
    return [line.strip() for line in render("keepalived.conf.j2", settings(own, **changes)).splitlines()]


def test_each_speaks_to_the_other_and_the_first_has_the_address() -> None:
    first, second = lines(PEERS[0]), lines(PEERS[1])
    assert ("unicast_src_ip 10.0.0.1" in first, "unicast_src_ip 10.0.0.2" in second) == (True, True)
    assert first[first.index("unicast_peer {") + 1] == "10.0.0.2"
    assert second[second.index("unicast_peer {") + 1] == "10.0.0.1"
    assert ("priority 150" in first, "priority 149" in second) == (True, True)
    assert {"virtual_router_id 51", "10.0.0.10/24", "nopreempt", "auth_pass n7Gq2xWd"} <= set(first) & set(second)


def test_the_check_asks_haproxy_as_an_unprivileged_user() -> None:
    assert {'script "/usr/local/lib/litellm-gateway/control alive"', "script_user haproxy"} <= set(lines(PEERS[0]))


@pytest.mark.parametrize("own", PEERS)
def test_keepalived_takes_the_configuration(own: str, tmp_path: Path) -> None:
    assert checked(own, tmp_path) == (0, "")


def test_one_that_is_left_keeps_the_address(tmp_path: Path) -> None:
    alone = lines(PEERS[1], virtual_peers=PEERS[1:])
    assert {"10.0.0.10/24", "priority 150", "mcast_src_ip 10.0.0.2"} <= set(alone)
    assert not [line for line in alone if line.startswith("unicast")]
    assert checked(PEERS[1], tmp_path, virtual_peers=PEERS[1:]) == (0, "")


def test_keepalived_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    status, said = checked(PEERS[0], tmp_path, virtual_router_id=400)
    assert status != 0
    assert "400" in said and "n7Gq2xWd" not in said


def test_what_is_loaded_is_noted_for_the_next_run(tmp_path: Path) -> None:
    config, loaded, control = (tmp_path / name for name in ("keepalived.conf", "loaded", "control"))
    given = settings(
        PEERS[0], __litellm_gateway_keepalived_config=str(config), __litellm_gateway_keepalived_loaded=str(loaded)
    )
    control.write_text(render("control.j2", given))
    for text in ("one\n", "two\n"):
        config.write_text(text)
        assert not files.up_to_date(str(loaded), [str(config)])
        subprocess.run(["sh", control, "address_loaded"], check=True)
        assert files.up_to_date(str(loaded), [str(config)])
    unit = render("litellm-gateway-address.service.j2", settings(PEERS[0])).splitlines()
    noted = "/usr/local/lib/litellm-gateway/control address_loaded"
    assert {f"ExecStartPre={noted}", f"ExecReload={noted}", "RuntimeDirectory=litellm-gateway-address"} <= set(unit)


def checked(own: str, directory: Path, **changes: object) -> tuple[int, str]:
    """How the role's own check of the file ends, and what it says."""
    # keepalived looks whether script and interface are there
    given = settings(own, __litellm_gateway_control="/usr/bin/true", __litellm_gateway_keepalived=KEEPALIVED, **changes)
    given["litellm_gateway_virtual_interface"] = [name for _, name in socket.if_nameindex() if name != "lo"][-1]
    config, control = directory / "keepalived.conf", directory / "control"
    config.write_text(render("keepalived.conf.j2", given))
    control.write_text(render("control.j2", given))
    done = subprocess.run(["sh", control, "address", config], capture_output=True, text=True, check=False)
    assert list(directory.glob("*.checked")) == []
    return done.returncode, done.stdout + done.stderr
