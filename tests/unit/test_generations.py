"""How generations are described, compared, kept and listed."""

from typing import Any

import pytest
from litellm_proxy_config import config, served_models
from litellm_proxy_generations import changed_keys, changes, expendable, manifest, table
from role_settings import ENDPOINTS, KEY_A, KEY_B, KEY_C, MASTER_KEY, key, pool, settings

PARTS = {"venv": "/opt/p/venvs/litellm-1", "plugin": "0011aabbccdd"}


def described(**changed: object) -> dict[str, Any]:
    """The manifest of the tests' settings with these changes."""
    wanted = settings(**changed)
    rendered = config(wanted, ENDPOINTS)
    return manifest(wanted, rendered, served_models(rendered), PARTS)


def test_manifest_holds_no_secret() -> None:
    text = repr(described(redis_url="redis://:Tk9wQ2xRb3Bz@redis"))
    assert [secret for secret in (MASTER_KEY, KEY_A, KEY_B, "Tk9wQ2xRb3Bz") if secret in text] == []


def test_manifest_names_what_a_rollback_needs() -> None:
    found = described()
    assert (found["version"], found["venv"], found["plugin"]) == ("1.108.11", PARTS["venv"], PARTS["plugin"])
    assert found["models"] == served_models(config(settings(), ENDPOINTS))
    assert list(found["keys"]) == ["team-a", "team-b"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"zai_keys": [key("team-a", KEY_A), key("team-b", KEY_C)]}, ["key team-b: another value"]),
        ({"zai_keys": [key("team-a", KEY_A)]}, ["key team-b: removed"]),
        (
            {"zai_keys": [key("team-a", KEY_A), key("team-b", KEY_B), key("team-c", KEY_C)]},
            ["key team-c: added"],
        ),
        (
            {"zai_keys": [key("team-a", KEY_A), key("team-b", KEY_B, state="draining")]},
            ["key team-b: state active -> draining"],
        ),
        (
            {"zai_keys": [key("team-a", KEY_A, rpm=60), key("team-b", KEY_B)]},
            ["key team-a: rpm unset -> 60"],
        ),
        ({"version": "1.109.1"}, ["LiteLLM: 1.108.11 -> 1.109.1"]),
        ({"routing_strategy": "weighted"}, ["routing strategy: round-robin -> weighted"]),
        ({"queue_size": 7}, ["config.yaml: other settings"]),
        ({"memory_max": "3G"}, ["settings of the service only"]),
    ],
)
def test_change_is_told_in_a_line(changed: dict[str, object], told: list[str]) -> None:
    assert changes(described(), described(**changed)) == told


def test_change_of_a_pool_is_told() -> None:
    before = described(pools=[pool("main", "glm-5.3", "a"), pool("old")])
    after = described(pools=[pool("main", "glm-5.3", "a", "b"), pool("new")])
    assert changes(before, after) == ["pool old: removed", "pool new: added", "pool main: aliases a -> a, b"]


def test_another_master_key_is_told() -> None:
    assert changes(described(), described(), other_master_key=True) == [
        "master key: another value; clients need that one"
    ]


def test_only_values_that_were_not_there_before_are_new() -> None:
    after = [key("team-a", KEY_C), key("renamed", KEY_B), key("team-b", KEY_A, state="disabled")]
    assert changed_keys(described(), described(zai_keys=after)) == ["team-a"]
    assert changed_keys({}, described()) == ["team-a", "team-b"]


def of(*activated: float) -> dict[str, dict[str, Any]]:
    return {f"g{number}": {"activated": moment, "manifest": {}} for number, moment in enumerate(activated)}


@pytest.mark.parametrize(
    ("keep", "gone"), [(2, ["g0", "g1", "g2"]), (3, ["g0", "g1"]), (4, ["g0"]), (5, []), (100, [])]
)
def test_the_oldest_go_and_those_in_use_stay(keep: int, gone: list[str]) -> None:
    assert expendable(of(10, 20, 30, 5, 40), keep, ["g3", "g4"]) == gone


def test_a_generation_that_never_served_goes_first() -> None:
    assert expendable(of(0, 20, 30, 40), 3, ["g2", "g3"]) == ["g0"]


def test_missing_previous_leaves_room_for_another() -> None:
    assert expendable(of(10, 20, 30), 2, ["g2", ""]) == ["g0"]


def test_table_begins_with_those_in_use() -> None:
    generations = of(1_795_000_000, 1_795_100_000, 0)
    generations["g1"]["manifest"] = described(zai_keys=[key("team-a", KEY_A), key("off", KEY_B, state="disabled")])
    lines = table(generations, "g1", "g0").splitlines()
    assert lines[0].split() == ["GENERATION", "STATE", "LITELLM", "STRATEGY", "KEYS", "LAST", "STARTED"]
    assert lines[1].split()[:5] == ["g1", "serves", "1.108.11", "round-robin", "team-a"]
    assert "2026-11-19" in lines[1]
    assert lines[2].split()[:2] == ["g0", "previous"]
    assert lines[3].split() == ["g2", "kept", "-", "-", "-", "never"]
