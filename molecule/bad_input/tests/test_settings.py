"""Settings that cannot work are refused before the host is touched, and name what to do."""

from typing import Any

import pytest
from host_support import SECRETS, SETTINGS, Proxy, hosts_of, play

testinfra_hosts = hosts_of("litellm_proxy")

GOOD: list[dict[str, Any]] = [
    {**key, "openai_api_base": "http://zai-simulator:8080/api/paas/v4"} for key in SETTINGS["litellm_proxy_zai_keys"]
]
KEYS, POOLS, MASTER = "litellm_proxy_zai_keys", "litellm_proxy_pools", "litellm_proxy_master_key"


def keys(**change: Any) -> dict[str, Any]:
    """The good keys, the first of them changed."""
    return {KEYS: [{**GOOD[0], **change}, *GOOD[1:]]}


def zai_key(value: str) -> dict[str, Any]:
    """A single key for Z.AI itself."""
    return {KEYS: [{"name": "key-a", "key": value}]}


# some of each kind; tests/unit/test_validate.py has them all
CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({KEYS: []}, [KEYS, "is empty", "add at least one"]),
    (keys(key="CHANGE-ME"), [f"{KEYS}[0] (key-a)", "placeholder", "ansible-vault edit"]),
    (zai_key("0123456789abcdef"), [f"{KEYS}[0] (key-a)", "malformed", "copy it again"]),
    (keys(key=GOOD[1]["key"]), ["[0] (key-a) and [1] (key-b) hold the same key", "remove one"]),
    (keys(plan="gold"), [f"{KEYS}[0] (key-a)", "plan 'gold'", "general, coding"]),
    ({KEYS: [{**key, "state": "disabled"} for key in GOOD]}, [KEYS, "no entry with state 'active'"]),
    (
        {"litellm_proxy_routing_strategy": "roundrobin"},
        ["litellm_proxy_routing_strategy is 'roundrobin'", "round-robin, least-connections, weighted, simple-shuffle"],
    ),
    (
        {
            POOLS: [
                {"name": "one", "model": "glm-5.3", "aliases": ["claude-*"]},
                {"name": "two", "model": "glm-5.3-flash", "aliases": ["claude-*"]},
            ]
        },
        [f"{POOLS}[1] (two)", "'claude-*'", f"by {POOLS}[0] (one) too", "in one place"],
    ),
    ({MASTER: ""}, [f"{MASTER} is not set", "openssl rand"]),
    ({"litellm_proxy_port": 70000}, ["litellm_proxy_port is 70000", "1024 to 65535"]),
    ({"litellm_proxy_version": "1.107.0"}, ["litellm_proxy_version is 1.107.0", "banned", "1.108.11"]),
    ({"litellm_proxy_version": "9.9.9"}, ["litellm_proxy_version is '9.9.9'", "no lock file", "1.108.11"]),
    ({"litellm_proxy_front": "nginx"}, ["litellm_proxy_front is 'nginx'", "gateway, none"]),
    ({"litellm_gateway_admin_networks": ["10.0.0.0/99"]}, ["litellm_gateway_admin_networks", "10.0.0.0/99"]),
    ({"litellm_proxy_mode": "kubernetes"}, ["litellm_proxy_mode is 'kubernetes'", "systemd, compose, process"]),
]


@pytest.mark.parametrize(("settings", "told"), CASES, ids=[" ".join(told)[:60] for _, told in CASES])
def test_fault_is_named_and_nothing_is_touched(serving: Proxy, settings: dict[str, Any], told: list[str]) -> None:
    done = play("site.yml", settings)
    assert done.returncode == 2, done.stdout
    said = " ".join(done.stdout.split())
    assert "1 fault(s) in the settings of" in said
    assert [text for text in told if text not in said] == []
    assert "changed=0" in said
    assert "Gathering Facts" not in said
    assert [secret for secret in SECRETS if secret in done.stdout + done.stderr] == []


def test_all_faults_come_in_one_message(serving: Proxy) -> None:
    settings = {**keys(plan="gold", state="sleeping"), "litellm_proxy_port": 1, "litellm_proxy_routing_strategy": "x"}
    done = play("site.yml", settings)
    said = " ".join(done.stdout.split())
    assert "4 fault(s) in the settings of" in said
    for told in ("plan 'gold'", "state 'sleeping'", "litellm_proxy_port is 1", "litellm_proxy_routing_strategy is 'x'"):
        assert told in said


def test_a_role_used_alone_says_the_same(serving: Proxy) -> None:
    done = play("molecule/bad_input/role_alone.yml", {**keys(plan="gold"), "litellm_proxy_routing_strategy": "x"})
    assert done.returncode == 2
    assert "2 fault(s) in the settings of" in done.stdout


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (keys(account="account-b"), "are active keys of one account (account-b)"),
        (keys(plan="coding"), "use the Coding Plan"),
    ],
)
def test_warning(serving: Proxy, settings: dict[str, Any], told: str) -> None:
    done = play("playbooks/validate.yml", settings)
    assert done.returncode == 0, done.stdout
    said = " ".join(done.stdout.split())
    assert "WARNING: litellm_proxy_zai_keys: " in said
    assert told in said


def test_warning_is_silenced_by_acknowledging(serving: Proxy) -> None:
    done = play("playbooks/validate.yml", {**keys(plan="coding"), "litellm_proxy_coding_plan_acknowledged": True})
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout
