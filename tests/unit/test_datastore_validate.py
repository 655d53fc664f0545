"""Faulty settings of the store are refused on the controller: each message names the variable and the fix."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from litellm_datastore_validate import LIMITS, FilterModule, faults

ROLE = Path(__file__).resolve().parents[2] / "roles" / "litellm_datastore"
PASSWORD = "9f2c81d09be74a36a1b2c3d4e5f60718"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def load(path: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROLE / path).read_text())
    return content


DEFAULTS = load("defaults/main.yml")
OPTIONS: dict[str, dict[str, Any]] = load("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
SETTINGS: dict[str, str] = load("vars/main.yml")["__litellm_datastore_settings"]


def settings(**changes: object) -> dict[str, Any]:
    """The defaults with three hosts and a password; `changes` go by the names without `litellm_datastore_`."""
    found = {name: DEFAULTS[name] for name in SETTINGS}
    found |= {"litellm_datastore_hosts": ["one", "two", "three"], "litellm_datastore_password": PASSWORD}
    for name, value in changes.items():
        assert f"litellm_datastore_{name}" in found, f"the role hands no {name} to its filters"
        found[f"litellm_datastore_{name}"] = value
    return found


def test_one_host_and_three_can_work_with_tls_and_without() -> None:
    for good in (
        settings(),
        settings(hosts=["one"]),
        settings(port="7000", down_after="10", memory_max="1G"),
        settings(certificate=PEM, certificate_key=PEM, ca=PEM),
        settings(state="absent", hosts=[], password=""),
    ):
        assert faults(good) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state": "gone"}, "litellm_datastore_state is 'gone'"),
        ({"hosts": []}, "has 0 host(s)"),
        ({"hosts": ["one", "two"]}, "could not agree"),
        ({"hosts": ["one", "one", "two"]}, "litellm_datastore_hosts"),
        ({"hosts": "one"}, "litellm_datastore_hosts"),
        ({"port": 26379}, "use two different ports"),
        ({"name": "a b"}, "litellm_datastore_name is 'a b'"),
        ({"memory_max": "256"}, "litellm_datastore_memory_max is '256'"),
        ({"password": ""}, "litellm_datastore_password is not set"),
        ({"password": "CHANGE-ME-CHANGE-ME-CHANGE-ME"}, "is a placeholder"),
        ({"password": "short1234"}, "is weak"),
        ({"password": "a" * 30}, "is weak"),
        ({"password": f"{PASSWORD} x"}, "has other characters"),
        ({"certificate": PEM}, "litellm_datastore_certificate_key is not set"),
        ({"certificate": PEM, "certificate_key": PEM, "ca": "/etc/ca.pem"}, "litellm_datastore_ca is no PEM text"),
    ],
)
def test_a_fault_is_named_with_its_variable_and_what_to_do(changes: dict[str, object], said: str) -> None:
    found = faults(settings(**changes))
    assert any(said in fault for fault in found), found
    assert all(fault.startswith("litellm_datastore_") and ":" in fault for fault in found)
    password = changes.get("password")
    assert not password or not any(str(password) in fault for fault in found)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", [-1, 10**6, "x", None, True, 1.5])
def test_numbers_have_bounds(name: str, value: object) -> None:
    short = name.removeprefix("litellm_datastore_")
    assert any(fault.startswith(f"{name} is {value!r}") for fault in faults(settings(**{short: value})))


def test_specification_defaults_and_filter_have_the_same_variables() -> None:
    assert sorted(OPTIONS) == sorted(DEFAULTS)
    assert all(OPTIONS[name]["default"] == DEFAULTS[name] for name in DEFAULTS)
    assert {name for name, option in OPTIONS.items() if option.get("no_log")} == {
        "litellm_datastore_password",
        "litellm_datastore_certificate_key",
    }
    assert list(FilterModule().filters()) == ["litellm_datastore_faults"]
