"""A host that was something else before: it does not become a gateway over LiteLLM, and gives its address up."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from role_settings import ROOT

from tests.gateway.rendering import variables

MARK = "/etc/litellm-proxy/current"
UNIT = "/etc/systemd/system/litellm-gateway-address.service"


def needs(traces: list[str], scope: str, **changes: object) -> dict[str, dict[str, Any]]:
    """What the host must have, by name, as the role judges it after its probe."""
    given = variables(scope=scope, **changes) | {
        "inventory_hostname": "gw-1",
        "__litellm_gateway_host_facts": {
            "systemd": True, "root": True, "apt": True, "missing_programs": [], "missing_files": [], "addresses": {},
            "foreign_listeners": [], "traces": traces,
        },
    }  # fmt: skip
    found = Templar(loader=DataLoader(), variables=given).template(given["__litellm_gateway_host_needs"])
    return {one["need"]: one for one in found}


@pytest.mark.parametrize(
    ("scope", "traces", "met"),
    [("cluster", [MARK], False), ("cluster", [UNIT], True), ("cluster", [], True), ("host", [MARK], True)],
)
def test_a_gateway_is_refused_where_litellm_is(scope: str, traces: list[str], met: bool) -> None:
    found = needs(traces, scope)
    assert [name for name, one in found.items() if not one["met"]] == ([] if met else ["a host of its own"])
    assert "run playbooks/remove.yml --limit gw-1 for it first" in found["a host of its own"]["otherwise"]


@pytest.mark.parametrize(("address", "interface"), [("10.0.0.10/24", "eth0"), ("", "eth9")])
def test_an_interface_that_is_there_or_not_needed_is_no_fault(address: str, interface: str) -> None:
    found = needs(["/sys/class/net/eth0"], "cluster", virtual_address=address, virtual_interface=interface)
    assert [name for name, one in found.items() if not one["met"]] == []


def test_the_shared_address_needs_an_interface_that_is_there() -> None:
    found = needs(["/sys/class/net/eth0"], "cluster", virtual_address="10.0.0.10/24", virtual_interface="eth9")
    assert [name for name, one in found.items() if not one["met"]] == ["the interface of the shared address"]
    assert "litellm_gateway_virtual_interface is eth9" in found["the interface of the shared address"]["otherwise"]


@pytest.mark.parametrize(
    ("scope", "address", "traces", "gives_up"),
    [
        ("host", "", [UNIT], True),
        ("cluster", "", [UNIT], True),
        ("cluster", "10.0.0.10/24", [UNIT], False),
        ("host", "", [], False),
    ],
)
def test_the_address_is_given_up_by_all_that_do_not_share_it(
    scope: str, address: str, traces: list[str], gives_up: bool
) -> None:
    tasks = DataLoader().load_from_file(
        str(ROOT / "roles/litellm_gateway/tasks/configure.yml"), trusted_as_template=True
    )
    first = tasks[0]
    assert first["ansible.builtin.include_tasks"] == "address_absent.yml"
    given = variables(scope=scope, virtual_address=address) | {"__litellm_gateway_host_facts": {"traces": traces}}
    templar = Templar(loader=DataLoader(), variables=given)
    assert all(templar.evaluate_conditional(one) for one in first["when"]) is gives_up
